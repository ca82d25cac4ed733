(defproject shop "1")
