// Package redistest starts real Redis servers for tests: one, or a cluster of
// three masters with or without replicas, which can be killed, frozen and
// started again. A machine without redis-server fails the test and says how to
// install it.
//
// In: a test.
//
// Out: addresses for redis.Config, and processes that end with the test.
package redistest
