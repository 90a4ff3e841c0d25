"""Token streams: corpora, tokenisers, the mixture of training rows, evaluation windows and their loaders."""
