from .metrics import Axis as Axis
from .metrics import Measure as Measure
from .metrics import Metric as Metric
from .metrics import percentage as percentage
from .metrics import perplexity as perplexity
from .records import read_experiment as read_experiment
from .records import read_run as read_run
from .wandb_logger import WandbRun as WandbRun
