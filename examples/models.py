"""The models of the course's `apps/models.py`: needle has them."""

from needle.models import LanguageModel, ResNet9

__all__ = ["LanguageModel", "ResNet9"]
