# Sourced by compile: what Node has compiled of programs that ask for it; without it, npm takes twice the time to start. It is
# kept from the first build with these versions and then left alone: a cache that changes is sent, and unpacked anew.
compiled=/tmp/node-compile-cache

restore_compiled() {
  local folder own
  compiled_key="node $node_version, $manager $manager_version"
  if [ ! -f "$cache/compiled/key" ] || [ "$(<"$cache/compiled/key")" != "$compiled_key" ]; then return; fi
  compiled_kept=1
  if [ -d "$compiled" ]; then return; fi
  cp -R "$cache/compiled/files" "$compiled"
  # Node ends its folder's name with its user, which is another in each slot.
  for folder in "$compiled"/*-*; do
    own=${folder%-*}-$UID
    if [ -d "$folder" ] && [ "$folder" != "$own" ]; then mv "$folder" "$own"; fi
  done
}

keep_compiled() {
  if [ -n "$compiled_kept" ] || [ ! -d "$compiled" ]; then return; fi
  rm -rf "$cache/compiled" && mkdir "$cache/compiled"
  cp -R "$compiled" "$cache/compiled/files"
  printf %s "$compiled_key" >"$cache/compiled/key"
}
