//go:build !unix && windows

package journal_test

const jobEnv = "JOURNAL_TEST_JOB"

func work(string) {}
