"""The pairing of a task where the recipe names none: the one that its head needs."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PAIRING_OF_SIDES"]

PAIRING_OF_SIDES: Mapping[int, str] = {1: "cross", 2: "siamese"}  # texts that a head reads apart
