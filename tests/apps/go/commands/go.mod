module example.com/commands/v2

go 1.23.0

toolchain go1.24.3
