from .metrics import Measure as Measure
from .metrics import Metric as Metric
from .records import read_experiment as read_experiment
from .records import read_run as read_run
from .wandb_logger import WandbRun as WandbRun
