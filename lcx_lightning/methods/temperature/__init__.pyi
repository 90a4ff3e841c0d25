from .base import Temperature as Temperature
from .constant import Constant as Constant
from .log_n import LogN as LogN
from .longrope import LongRoPETemperature as LongRoPETemperature
from .yarn import YaRNTemperature as YaRNTemperature
