module example.org/cluster

go 1.19
