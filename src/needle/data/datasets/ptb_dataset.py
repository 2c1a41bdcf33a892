"""The course's path to word-level text."""

from needle.data.corpus import Corpus, Dictionary, batchify, get_batch

__all__ = ["Corpus", "Dictionary", "batchify", "get_batch"]
