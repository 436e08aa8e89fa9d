"""The predictor that asks a server: `sammed3d.predictors.remote.RemotePredictor`."""

from sammed3d.predictors.remote import RemotePredictor

__all__ = ["RemotePredictor"]
