from .sources import EmbeddedModel as EmbeddedModel
from .sources import HubModel as HubModel
from .sources import ModelSource as ModelSource
