"""LCX Lightning: context-window extension of RoPE language models, compared truly."""
