//go:build race

package codec_test

const raceEnabled = true // under which pools forget on purpose
