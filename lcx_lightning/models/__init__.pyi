from .gguf_model import GGUFModel as GGUFModel
from .gguf_model import HubOrPackage as HubOrPackage
from .sources import EmbeddedModel as EmbeddedModel
from .sources import HubModel as HubModel
from .sources import ModelSource as ModelSource
