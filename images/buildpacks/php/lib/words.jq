# What bin/compile reads of the plan, as assignments of bash: see /usr/lib/buildfarm/planned.
@sh "version=\(.language.version) because=\(.language.because) laravel=\(.laravel) root=\(.document_root)",
@sh "vendor=\(.vendor) kept=\(.kept) whole=\(.whole) daily=\(.daily)",
"inputs=(\(.inputs | @sh)) code=(\(.code | @sh))"
