"""Where stacks differ in the classic contract: Scalingo's way by default, Heroku's by a setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """What a stack promises to classic buildpacks; docs/buildpacks.md has the table with its sources."""

    config_vars_in_environment: bool  # or in ENV_DIR alone
    slugignore_before_build: bool  # or what it names is left out of the image
    procfile_as_whole: bool  # or it wins over a buildpack's defaults type by type
    project_dir: bool  # whether the config var PROJECT_DIR names the folder of the source that is the app


PROFILES = {
    "scalingo": Profile(
        config_vars_in_environment=True, slugignore_before_build=False, procfile_as_whole=True, project_dir=True
    ),
    "heroku": Profile(
        config_vars_in_environment=False, slugignore_before_build=True, procfile_as_whole=False, project_dir=False
    ),
}
