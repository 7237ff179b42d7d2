"""Every constant of SynPo, named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .mask_parameters import ROI_SIZE


@dataclass(frozen=True)
class SynPoParameters:
    """Constants of SynPo (MICCAI 2025) for volumes.

    The weights of the maps and alpha and beta are the paper's. K_p, gamma, K_n and the k-means
    settings do not stand there: they come from the first author's follow-up code or are this
    project's (docs/as-published.md).

    ROI
    roi_size: side R of the square region of interest in pixels; maps and points live there.

    Synergy of the confidence maps (product of all encoders, plus each by itself)
    product_weight: weight of the product S_sam * S_dino.
    single_weights: weight of each encoder's own map, in the encoders' order (SAM, DINOv2).
        With one encoder only its map is used, with weight 1: there is nothing to fuse.

    Positive points
    clusters_per_share, base_clusters, max_positives: K_p = min(floor(clusters_per_share *
        foreground share of the support) + base_clusters, max_positives).
    gamma: pixels per cluster: the gamma * K_p highest pixels make the positive points, at most
        gamma * K_n pixels the negative ones.

    Negative points
    negatives: K_n, number of clusters; 0 = no negative points.
    alpha, beta: the interval [mu - alpha * sigma, mu - beta * sigma] of confidence that negative
        pixels come from; Eq. 12 prints it as a union.
    drop_near_negatives: drop a negative that is nearer to a positive than the positives' own
        largest distance. The follow-up drops such pixels before they are clustered, which
        makes no clear difference (Testing/Accuracy/synpo_points.py).

    k-means
    kmeans_restarts, kmeans_iterations: as n_init and max_iter of scikit-learn's `KMeans`.

    Raises ValueError for values that make no sense.
    """

    roi_size: int = ROI_SIZE
    product_weight: float = 0.8
    single_weights: tuple[float, ...] = (0.1, 0.1)
    clusters_per_share: float = 10.0
    base_clusters: int = 2
    max_positives: int = 3
    gamma: int = 20
    negatives: int = 4
    alpha: float = 0.5
    beta: float = -1.0
    drop_near_negatives: bool = True
    kmeans_restarts: int = 1
    kmeans_iterations: int = 100

    def __post_init__(self) -> None:
        if self.roi_size < 1:
            raise ValueError(f"roi_size must be positive, not {self.roi_size}")
        if min(self.gamma, self.max_positives, self.base_clusters) < 1:
            raise ValueError("gamma, max_positives and base_clusters must be at least 1")
        if self.negatives < 0:
            raise ValueError("negatives cannot be below 0")
        if self.alpha < self.beta:
            raise ValueError(f"alpha ({self.alpha}) must not be below beta ({self.beta})")
        if min(self.kmeans_restarts, self.kmeans_iterations) < 1:
            raise ValueError("kmeans_restarts and kmeans_iterations must be at least 1")

    @classmethod
    def for_modality(cls, modality: str, **changes: Any) -> SynPoParameters:
        """The values for "CT", "MR" or anything else, with `changes` on top.

        Only alpha and beta depend on the modality, as in the paper: CT (1, -0.5), MR (0, -1.5),
        else (0.5, -1).
        """
        alpha, beta = {"CT": (1.0, -0.5), "MR": (0.0, -1.5)}.get(modality.upper(), (0.5, -1.0))
        return replace(cls(alpha=alpha, beta=beta), **changes)

    def positives(self, foreground_share: float) -> int:
        """K_p for a support whose mask covers `foreground_share` (0..1) of the ROI."""
        wanted = int(self.clusters_per_share * foreground_share) + self.base_clusters
        return min(wanted, self.max_positives)

    def synergy_weights(self, encoders: int) -> tuple[float, tuple[float, ...]]:
        """(weight of the product, weight of each map) for this number of encoders.

        Raises ValueError when `single_weights` does not have one weight per encoder.
        """
        if encoders == 1:
            return 0.0, (1.0,)
        if encoders != len(self.single_weights):
            raise ValueError(
                f"{encoders} encoders need {encoders} single_weights, not {self.single_weights}"
            )
        return self.product_weight, self.single_weights
