from .fsdp import Sharded as Sharded
