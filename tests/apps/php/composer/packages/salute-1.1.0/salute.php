<?php

const SALUTE = "salute 1.1.0";
