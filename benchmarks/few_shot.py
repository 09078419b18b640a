"""Time our batched few-shot episodes beside a plain loop over episodes, in one run.

The loop draws with numpy's `choice`, class by class, and scores one episode at a time, as evaluation code usually does.
It runs --loop episodes; the ratio is of the time an episode.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.nn.functional import normalize

from vlrepro.evaluation.few_shot import ERICSSON, LGSSL, FewShotProtocol, draw_episodes, few_shot


def loop_accuracy(
    features: torch.Tensor, labels: torch.Tensor, protocol: FewShotProtocol, episodes: int, seed: int = 0
) -> float:
    """The mean accuracy of episodes that are drawn and scored one by one from features (n, d) of labels (n,)."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(labels.numpy() == label) for label in range(int(labels.max()) + 1)]
    need, scores = protocol.shots + protocol.queries, []
    for _ in range(episodes):
        ways = generator.choice(len(members), protocol.ways, replace=False)
        rows = np.stack([generator.choice(members[way], need, replace=False) for way in ways])
        support = features[torch.from_numpy(rows[:, : protocol.shots])]
        query = features[torch.from_numpy(rows[:, protocol.shots :])]
        if protocol.centre:
            centre = support.mean((0, 1))
            support, query = support - centre, query - centre
        if protocol.normalise:
            support, query = normalize(support, dim=-1), normalize(query, dim=-1)
        nearest = torch.cdist(query.flatten(0, 1), support.mean(1)).argmin(1).view(protocol.ways, -1)
        scores.append((nearest == torch.arange(protocol.ways)[:, None]).float().mean().item())
    return float(np.mean(scores))


def main() -> None:
    """Print one row a protocol: processor seconds for 1,000 episodes of the loop and of ours, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5000, help="in each of the training and test sets")
    parser.add_argument("--dimension", type=int, default=512, help="features a picture")
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--loop", type=int, default=500, help="episodes of the plain loop")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(options.pictures) % options.classes
    centres = torch.randn(options.classes, options.dimension, generator=generator)
    train, test = (
        centres[labels] + 5 * torch.randn(options.pictures, options.dimension, generator=generator) for _ in range(2)
    )
    print(f"{options.pictures} pictures a set, {options.dimension} features; processor seconds for 1,000 episodes")
    print(f"{'protocol':<12}{'episodes':>9}{'loop':>9}{'ours':>9}{'ratio':>8}{'accuracies':>22}")
    for name, protocol in (("lgssl", LGSSL), ("ericsson", ERICSSON)):
        start = time.process_time()
        result = few_shot(train, test, draw_episodes(labels, labels, protocol, "benchmark"), protocol)
        ours = (time.process_time() - start) * 1000 / protocol.episodes
        start = time.process_time()
        looped = loop_accuracy(torch.cat([train, test]), torch.cat([labels, labels]), protocol, options.loop)
        loop = (time.process_time() - start) * 1000 / options.loop
        accuracies = f"{looped:.3f} and {result.accuracy:.3f}"
        print(f"{name:<12}{protocol.episodes:>9}{loop:>9.3f}{ours:>9.3f}{loop / ours:>8.1f}{accuracies:>22}")


if __name__ == "__main__":
    main()
