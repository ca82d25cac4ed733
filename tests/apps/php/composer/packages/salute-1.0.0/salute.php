<?php

const SALUTE = "salute 1.0.0";
