# Sourced by compile: the plan's words as variables, and how steps are run.

fail() { # SENTENCE...
  printf ' !     %s\n' "$@"
  exit 1
}

read_plan() {
  local words
  words=$(jq -r '"python_asked=\(.language.version | @sh) python_fetched=\(.language.fetched) python_because=\(.language.because | @sh)",
    "manager=\(.manager.name | @sh) manager_version=\(.manager.version | @sh) manager_because=\(.manager.because | @sh)",
    "installing=\(.install.run | @sh) kept=\(.install.kept) package=\(.install.package) inputs=(\(.install.inputs | @sh))",
    "problems=(\(.problems | @sh)) release=\(.processes | to_entries | map("  \(.key): \(.value | @json)") | join("\n") | @sh)",
    "project=\(.project.run | @sh) collectstatic=\(.collectstatic | @sh) front_steps=\(.front_end | length)", "steps=(\(.steps[(.front_end | length):] | @sh)) warnings=(\(.warnings | @sh))"' "$plan")
  eval "$words"
  if [ -n "$release" ]; then echo "$release" >"$here/release.yaml"; fi
  python_version=$python_asked
}

# attempt COMMAND: with the config vars as they are, and its output in the log; ends as it does
attempt() {
  local forced=("VIRTUAL_ENV=$venv" "UV_PROJECT_ENVIRONMENT=$venv" PYTHONDONTWRITEBYTECODE=1) code=0 lock=""
  # A lock file of uv has whole addresses. While uv runs, those of PyPI lead to the farm's cache; hashes stay as they are.
  if [[ "$1" == "uv sync "* ]] && [ -n "${BUILDFARM_PYPI_CACHE:-}" ] && [ -f uv.lock ] && [ ! -L uv.lock ]; then
    lock=$work/uv.lock
    cp -p uv.lock "$lock"
    sed -i "s#https://pypi.org/simple#$BUILDFARM_PYPI_CACHE/_pypi/simple#; s#https://files.pythonhosted.org/#$BUILDFARM_PYPI_CACHE/_files/#" uv.lock
    forced+=("UV_DEFAULT_INDEX=$BUILDFARM_PYPI_CACHE/_pypi/simple")
  fi
  set +e
  # Config vars may have the names of this program's own variables, which are theirs again here.
  (set -- "$1" "${forced[@]}" && source /usr/lib/buildfarm/environment "$config" && exec env "${@:2}" bash -c "$1") 2>&1 </dev/null |
    tee "$log" | sed -u 's/^/       /'
  code=${PIPESTATUS[0]}
  set -e
  if [ -n "$lock" ]; then mv "$lock" uv.lock; fi
  return "$code"
}

perform() { # COMMAND
  attempt "$1" || fail "$("$here/lib/explain" "$log" "$1")"
}

# As the buildpack nodejs would. Its programs are there for collectstatic and hooks, but are no part of the image.
build_front_end() {
  if [ "$front_steps" = 0 ]; then return; fi
  /usr/lib/buildfarm/front-end build "$build" "$cache" "$config"
  eval "$(/usr/lib/buildfarm/front-end export)"
  builder_path=$PATH
}

run_hook() { # a program of the app's own
  echo "-----> Running $1"
  chmod +x "$1"
  provide_manager
  perform "$1"
}

collect_static() {
  echo "-----> Running $collectstatic"
  if attempt "$collectstatic"; then return; fi
  if grep -q 'without having set the STATIC_ROOT setting' "$log"; then
    echo " !     Static files are not collected: the settings name no STATIC_ROOT."
  else
    fail "$("$here/lib/explain" "$log" "$collectstatic")"
  fi
}

# What a build gets unless a config var says otherwise
set_defaults() {
  : "${PIP_CACHE_DIR:=$cache/pip}" "${PIP_DISABLE_PIP_VERSION_CHECK:=1}" "${PIP_NO_INPUT:=1}" "${PIP_PROGRESS_BAR:=off}" "${PIP_COMPILE:=0}"
  : "${UV_CACHE_DIR:=$cache/uv}" "${UV_LINK_MODE:=copy}" "${UV_NO_PROGRESS:=1}" "${UV_PYTHON_DOWNLOADS:=never}"
  : "${POETRY_CACHE_DIR:=$cache/poetry}" "${POETRY_NO_INTERACTION:=1}" "${PYTHON_KEYRING_BACKEND:=keyring.backends.null.Keyring}"
  : "${PDM_CACHE_DIR:=$cache/pdm}" "${PDM_CHECK_UPDATE:=0}" "${PDM_IGNORE_SAVED_PYTHON:=1}" "${PDM_NON_INTERACTIVE:=1}"
  : "${PIPENV_CACHE_DIR:=$cache/pipenv}" "${PIPENV_NOSPIN:=1}" "${PIPENV_HIDE_EMOJIS:=1}" "${PIPENV_VERBOSITY:=-1}" "${PIPENV_YES:=1}" "${PIPENV_DONT_LOAD_ENV:=1}"
  : "${SOURCE_DATE_EPOCH:=315532800}" "${NO_COLOR:=1}"
  export PIP_CACHE_DIR PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_INPUT PIP_PROGRESS_BAR PIP_COMPILE UV_CACHE_DIR UV_LINK_MODE UV_NO_PROGRESS \
    UV_PYTHON_DOWNLOADS POETRY_CACHE_DIR POETRY_NO_INTERACTION PYTHON_KEYRING_BACKEND PDM_CACHE_DIR PDM_CHECK_UPDATE PDM_IGNORE_SAVED_PYTHON \
    PDM_NON_INTERACTIVE PIPENV_CACHE_DIR PIPENV_NOSPIN PIPENV_HIDE_EMOJIS PIPENV_VERBOSITY PIPENV_YES PIPENV_DONT_LOAD_ENV SOURCE_DATE_EPOCH NO_COLOR
  # Otherwise a manager leaves logs and states in the home folder, which is the app.
  export XDG_CACHE_HOME=$cache/xdg XDG_DATA_HOME=$work/xdg XDG_STATE_HOME=$work/xdg
}
