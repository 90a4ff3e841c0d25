from .bases import tokens as tokens
from .byte_pairs import save_byte_pairs as save_byte_pairs
