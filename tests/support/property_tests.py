"""How many examples property tests draw: few by default, all of them under `--hypothesis-profile=full`."""

from hypothesis import Phase, settings

PROFILE = "few"  # the default one
COMMON = {"deadline": None, "derandomize": True, "database": None}
settings.register_profile(PROFILE, max_examples=25, phases=[Phase.explicit, Phase.generate], **COMMON)
settings.register_profile("full", max_examples=100, **COMMON)  # and shrinks what fails to the smallest example


def examples(full):
    """Return settings of a test that draws `full` examples under the full profile, and by default a quarter of them."""
    return settings(max_examples=max(2, full * settings.default.max_examples // 100))
