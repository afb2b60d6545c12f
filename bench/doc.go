// Package bench measures what a viewer costs, on the machine it runs on and over
// real processes: gateways, an aggregator, a redis-server, the crowd's clients,
// and a floor, which is the least this kernel can do for the same sockets.
//
//	Run ─▶ measurement ─┬─▶ deployment: redis-server, aggregator, gateways
//	                    ├─▶ crowd: load clients (Load), told what to do line by line
//	                    ├─▶ floor (Floor), for the same connections, tick and payload
//	                    └─▶ rows ─▶ Report ─▶ table, JSON, Compare with a baseline
//
// Everything runs on loopback, on ports that the kernel chose, and is ended by
// the id of its process. A figure is the processor time, the memory or the
// messages of server processes only: the crowd is in processes of its own.
//
// A ratio to the floor holds only for the two figures of one run. So a Report
// has both, and Compare looks at ratios and counts, never at seconds.
//
// In: a Config; /proc, INFO of Redis and the metrics of the processes started.
//
// Out: a Report; lines of progress; a Model of large audiences.
package bench
