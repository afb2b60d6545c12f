module grandstand

go 1.26.0
