# Sourced by compile: what the app needs when it runs, and nothing that is only of this build.

finish() {
  local part
  find_parts
  drop_caches
  # Dates, and places of the build's caches
  for part in "${parts[@]}"; do rm -rf "$part/.modules.yaml" "$part"/.pnpm-workspace-state*.json; done
  # Yarn's note of what it has installed is there after a first install only.
  rm -rf .next/cache/webpack .next/cache/turbopack .next/cache/swc .yarn/install-state.gz
  rmdir .yarn 2>/dev/null || true
  check_output
  take_along
  write_profile
}

# The folder that the server of static files is to serve must be there.
check_output() {
  local words
  read -ra words <<<"$start"
  if [[ $start == */serve-static\ * ]] && [ ! -d "${words[1]}" ] && [ ! -f Procfile ]; then
    fail "The build left no folder ${words[1]}, which $start_because makes. Name its folder there, or write how to start the app: a Procfile, or a script start in package.json."
  fi
}

# Another Node than the builder's, and a package manager that a process is started with
take_along() {
  local name folder package names=()
  if [ -e "$tools/bin/node" ]; then
    mkdir -p .node/bin && cp "$node_folder/bin/node" .node/bin/node
  fi
  if [ "$at_run_time" = true ]; then names=(npm npx yarn yarnpkg pnpm); fi
  if [ "$at_run_time" = true ] || [ "$bun_at_run_time" = true ]; then names+=(bun bunx); fi
  if [ ${#names[@]} -gt 0 ]; then mkdir -p .node/bin .node/lib; fi
  for name in "${names[@]}"; do
    if [ ! -e "$tools/bin/$name" ]; then continue; fi
    folder=$(readlink "$tools/bin/$name")
    case $folder in
      "$build"/*) ln -s "../../${folder#"$build"/}" ".node/bin/$name" ;;
      /*)
        package=${name/npx/npm}
        if [ ! -d ".node/lib/$package" ]; then cp -R "${folders[$package]}" ".node/lib/$package"; fi
        ln -s "../lib/$package${folder#"${folders[$package]}"}" ".node/bin/$name"
        ;;
      *) ln -s "$folder" ".node/bin/$name" ;;
    esac
  done
}

write_profile() {
  local own="" options="" variable
  if [ -d .node/bin ]; then own=/app/.node/bin:; fi
  if [ -f .pnp.cjs ]; then
    options="--require /app/.pnp.cjs"
    if [ -f .pnp.loader.mjs ]; then options="$options --loader /app/.pnp.loader.mjs"; fi
  fi
  mkdir -p .profile.d
  {
    echo "export PATH=\"${own}/app/node_modules/.bin:\$PATH\" NODE_ENV=\"\${NODE_ENV:-production}\""
    for variable in "${start_variables[@]}"; do
      # A container's HOSTNAME is its own name, which some servers listen on.
      case $variable in
        HOSTNAME=*) echo "export $variable" ;;
        *) echo "export ${variable%%=*}=\"\${${variable%%=*}:-${variable#*=}}\"" ;;
      esac
    done
    if [ -n "$options" ]; then echo "export NODE_OPTIONS=\"$options \${NODE_OPTIONS:-}\""; fi
    if [ -d .node/lib/pnpm ]; then echo 'export npm_config_manage_package_manager_versions=false pnpm_config_pm_on_fail=ignore pnpm_config_verify_deps_before_run=false'; fi
  } >.profile.d/nodejs.sh
  echo "export PATH=\"$tools/bin:$build/node_modules/.bin:\$PATH\"" >"$here/export"
}
