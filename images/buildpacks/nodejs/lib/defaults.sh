# Sourced by compile: variables that a build gets unless a config var says otherwise.

# default NAME VALUE: names count without regard to case, as npm takes them.
default() {
  local name
  for name in "${given[@]}"; do
    if [ "${name,,}" = "${1,,}" ]; then return; fi
  done
  export "$1=$2"
}

set_defaults() {
  local name
  mapfile -t given < <(compgen -e)
  # Create React App takes each warning for an error there.
  if [ "$ci" = true ]; then default CI true; fi
  default NODE_ENV production
  default npm_config_cache "$cache/npm"
  default npm_config_update_notifier false
  default npm_config_fund false
  default npm_config_audit false
  default npm_config_loglevel warn
  # npm before 7 fails with 0.
  if [ "$manager" != npm ] || [ "${manager_version%%.*}" -ge 7 ]; then default npm_config_logs_max 0; fi
  # Headers of this very Node, so that native modules compile without fetching them; npm warns of the older name since 11.
  # The place is part of what they compile to, and of the cache's key: it must not tell where this Node comes from.
  ln -s "$node_folder" "$tools/node"
  default npm_package_config_node_gyp_nodedir "$tools/node"
  if [ "$manager" != npm ] || [ "${manager_version%%.*}" -lt 11 ]; then default npm_config_nodedir "$tools/node"; fi
  if [ "$manager" = pnpm ]; then set_pnpms_defaults; fi
  case $manager:$manager_linker in
    # As npm and pnpm do, it takes packages whose engines leave this Node out.
    yarn:) default YARN_CACHE_FOLDER "$cache/yarn" && default YARN_IGNORE_ENGINES true ;;
    # Plug'n'Play runs the archives themselves: they become part of the app.
    yarn:pnp) default YARN_ENABLE_GLOBAL_CACHE false ;;
    yarn:*) if [ ! -d .yarn/cache ]; then default YARN_ENABLE_GLOBAL_CACHE true; fi ;;
  esac
  default YARN_GLOBAL_FOLDER "$cache/berry"
  default YARN_ENABLE_TELEMETRY 0
  default BUN_INSTALL_CACHE_DIR "$cache/bun"
  # Each leaves a random number in the home folder, which is the app.
  for name in NEXT ASTRO NUXT GATSBY; do default ${name}_TELEMETRY_DISABLED 1; done
  default NG_CLI_ANALYTICS false
  default DO_NOT_TRACK 1
}

set_pnpms_defaults() { # under both prefixes: pnpm reads the second one since 11, and no longer the first
  local prefix
  for prefix in npm_config pnpm_config; do
    default ${prefix}_store_dir "$cache/pnpm"
    default ${prefix}_cache_dir "$cache/pnpm-cache"
    default ${prefix}_state_dir "$cache/pnpm-state"
    default ${prefix}_package_import_method clone-or-copy
    # What install scripts made on another build's libraries and config vars is of no use.
    default ${prefix}_side_effects_cache false
    default ${prefix}_manage_package_manager_versions false
    default ${prefix}_pm_on_fail ignore
    default ${prefix}_confirm_modules_purge false
    default ${prefix}_verify_deps_before_run false
    default ${prefix}_update_notifier false
  done
}

# What NODE_OPTIONS loads is there only once the dependencies are.
as_default() {
  if [[ ${NODE_OPTIONS:-} =~ (^|[[:space:]])(-r|--require|--import|--loader|--experimental-loader)[=[:space:]] ]] && [ -z "$installed" ]; then
    unset NODE_OPTIONS
  fi
}
installed=""
