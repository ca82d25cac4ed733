<?php

namespace App;

class Hello
{
    public static function say(): string
    {
        $lock = json_decode(file_get_contents(__DIR__ . "/../composer.lock"));
        return "hello with " . count($lock->packages) . " packages";
    }
}
