"""k_max, how far back passkeys are found (Position Interpolation, arXiv:2306.15595, section 3.3)."""

SUCCESS = 0.2  # least rate of success at a distance and at every nearer one


def k_max(rows: list[dict]) -> int | None:
    """The largest distance k from the end such that at every k' <= k at least a fifth of the trials succeed.

    0 if the nearest distance fails; None if rows have no distance. The rows are of one length (arXiv:2306.15595).
    """
    trials: dict[int, list[dict]] = {}
    for row in rows:
        if "distance" in row["at"]:
            trials.setdefault(row["at"]["distance"], []).append(row)
    reached = 0
    for distance in sorted(trials):
        found = trials[distance]
        if sum(row["value"] for row in found) < SUCCESS * sum(row["n"] for row in found):
            break
        reached = distance
    return reached if trials else None
