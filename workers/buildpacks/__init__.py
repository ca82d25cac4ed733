"""The phases detect and compile: which buildpacks take the app, and what they make of it.

`detect` brings them by `BuildpackFetcher` and asks them; `build` runs them: classic ones, or a group of Cloud Native
ones.
"""

from workers.buildpacks.appfiles import read_manifests
from workers.buildpacks.build import Built, build, launch_layers
from workers.buildpacks.buildpack_cache import BuildpackCache
from workers.buildpacks.choice import Chosen, detect
from workers.buildpacks.fetcher import BuildpackFetcher
from workers.buildpacks.labels import image_labels
from workers.buildpacks.manifests import AppManifest
from workers.buildpacks.previous import PreviousImage, read_previous
from workers.buildpacks.profile import PROFILES, Profile
from workers.buildpacks.secrets import refuse_secrets
from workers.buildpacks.slugignore import leave_out
from workers.buildpacks.steps import Steps, environment

__all__ = [
    "PROFILES",
    "AppManifest",
    "BuildpackCache",
    "BuildpackFetcher",
    "Built",
    "Chosen",
    "PreviousImage",
    "Profile",
    "Steps",
    "build",
    "detect",
    "environment",
    "image_labels",
    "launch_layers",
    "leave_out",
    "read_manifests",
    "read_previous",
    "refuse_secrets",
]
