#!/usr/bin/env zsh
echo hello
