from .lr_schedules import warmup_cosine as warmup_cosine
from .lr_schedules import warmup_stable_decay as warmup_stable_decay
from .module import LongContextModule as LongContextModule
from .optimizers import MuonAdamW as MuonAdamW
from .optimizers import adamw as adamw
