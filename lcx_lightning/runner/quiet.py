"""The libraries' advice is kept out of what the user sees; errors still come through."""

import logging
import warnings

import transformers


def silence_library_logging() -> None:
    """Let transformers and Lightning speak of errors only."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
