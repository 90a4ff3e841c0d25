from .launch.local import LocalLauncher as LocalLauncher
from .launch.slurm import SlurmLauncher as SlurmLauncher
