# What bin/compile reads of the plan, as assignments of bash: see /usr/lib/buildfarm/planned.
"ranges=(\(.ranges // [] | @sh))", @sh "wanted=\(.language.version // "") because=\(.language.because // "")"
