"""Encore fine-tunes pretrained text encoders and says how good they are. See `encore.fit` and `encore.load`."""
