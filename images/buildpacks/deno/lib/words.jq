# What bin/compile reads of the plan, as assignments of bash: see /usr/lib/buildfarm/planned.
@sh "wanted=\(.language.version // "") because=\(.language.because // "") locked=\(.locked)", "inputs=(\(.inputs // [] | @sh))"
