from .library import build_method as build_method
from .library import methods as methods
from .library import read_method as read_method
from .method import Method as Method
from .rope import Rope as Rope
