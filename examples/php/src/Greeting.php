<?php

namespace Example;

final class Greeting
{
    public static function text(): string
    {
        return getenv('GREETING') ?: 'hello';
    }
}
