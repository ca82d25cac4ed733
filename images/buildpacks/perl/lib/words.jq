# What bin/compile reads of the plan, as assignments of bash: see /usr/lib/buildfarm/planned.
@sh "version=\(.language.version) because=\(.language.because) snapshot=\(.snapshot) kept=\(.kept)"
