# The plan as assignments of bash, in one go: jq takes longer to start than to say all this.
def words: [.[]? | @sh] | join(" ");
"problems=(\(.problems | words))",
"warnings=(\(.warnings | words))",
"steps=(\(.steps | words))",
"inputs=(\(.install.inputs | words))",
"made_locks=(\(.install.makes | words))",
"apart=(\(.install.apart | words))",
@sh "node_version=\(.language.version // "") node_because=\(.language.because // "") node_fetched=\(.language.fetched)",
@sh "manager=\(.manager.name // "") manager_version=\(.manager.version // "") manager_because=\(.manager.because // "")",
@sh "manager_path=\(.manager.path // "") manager_digest=\(.manager.digest // "") manager_linker=\(.manager.linker // "") manager_fetched=\(.manager.fetched)",
@sh "installing=\(.install.run // "") kept=\(.install.kept) makes_lock=\(.install.makes_lock) daily=\(.install.daily) pruning=\(.prune.run // "") at_run_time=\(.runtime)",
@sh "bun=\(.bun.version // "") bun_at_run_time=\(.bun.runtime)",
@sh "start=\(.processes.web // "") start_because=\(.because // "") ci=\(.ci)",
"start_variables=(\([.environment // {} | to_entries[] | "\(.key)=\(.value)"] | words))"
