package link_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/conn/link"
)

// What frames look like on the wire.
func TestFramersOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name     string
		f        link.Framer
		contents string // that the codec appends
		wire     string // in hex
		got      string // what the other codec gets; "": contents
	}{
		{"usual", link.Prefix{}, "abc", "00000003616263", ""},
		{"empty", link.Prefix{}, "", "00000000", ""},
		{"one byte", link.Prefix{Width: 1}, "abc", "03616263", ""},
		{"three bytes, little", link.Prefix{Width: 3, LittleEndian: true}, "abc", "030000616263", ""},
		{"eight bytes", link.Prefix{Width: 8}, "abc", "0000000000000003616263", ""},
		{"inclusive", link.Prefix{Width: 2, Inclusive: true}, "abc", "0005616263", ""},
		{"adjusted up", link.Prefix{Width: 2, Adjust: 7}, "abc", "000a616263", ""},
		{"adjusted down", link.Prefix{Width: 2, Adjust: -3}, "abcd", "000161626364", ""},
		{"at an offset", link.Prefix{Width: 2, Offset: 2}, "TT\x00\x00abc", "54540003616263", "TT\x00\x03abc"},
		{"at an offset, inclusive", link.Prefix{Width: 2, Offset: 1, Inclusive: true, LittleEndian: true}, "T\x00\x00abc", "540600616263", "T\x06\x00abc"},
		{"whole", link.Prefix{Width: 2, Whole: true}, "\x00\x00abc", "0003616263", "\x00\x03abc"},
		{"varint", link.Prefix{Uvarint: true}, "abc", "03616263", ""},
		{"varint of two bytes", link.Prefix{Uvarint: true}, strings.Repeat("a", 200), "c801" + strings.Repeat("61", 200), ""},
		{"varint, adjusted", link.Prefix{Uvarint: true, Adjust: 1}, "abc", "04616263", ""},
		{"fixed", link.Fixed(3), "abc", "616263", ""},
		{"lines", link.Delimiter{}, "abc", "6162630a", ""},
		{"two bytes", link.Delimiter{End: "\r\n"}, "a\nb\r", "610a620d0d0a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := []byte("before")
			wire, err := seal(c.f, before, c.contents)
			must(t, err)
			if got := hex.EncodeToString(wire[len(before):]); !bytes.HasPrefix(wire, before) || got != c.wire {
				t.Fatalf("on the wire: %s, want %s", got, c.wire)
			}
			frame, n, err := c.f.Next(append(wire[len(before):], "next"...), 0)
			must(t, err)
			if c.got == "" {
				c.got = c.contents
			}
			if string(frame) != c.got || n != len(c.wire)/2 {
				t.Errorf("received %q in %d bytes, want %q in %d", frame, n, c.got, len(c.wire)/2)
			}
		})
	}
}

// What a framer cannot carry it refuses to send, and what is beyond its maximum
// it refuses as soon as that can be seen.
func TestFramersRefuse(t *testing.T) {
	long := strings.Repeat("a", 300)
	for _, c := range []struct {
		name string
		f    link.Framer
		send string
		recv string // "": nothing to receive
		err  error  // nil: any
	}{
		{"beyond the default", link.Prefix{}, "", "\x01\x00\x00\x00", link.ErrTooLarge},
		{"beyond Max", link.Prefix{Max: 100}, long, "\x00\x00\x00\x61", link.ErrTooLarge},
		{"beyond Width", link.Prefix{Width: 1}, long, "", link.ErrTooLarge},
		{"64 bits", link.Prefix{Width: 8}, "", "\xff\xff\xff\xff\xff\xff\xff\xff", link.ErrTooLarge},
		{"64 bits, adjusted", link.Prefix{Width: 8, Adjust: -5}, "", "\xff\xff\xff\xff\xff\xff\xff\xff", link.ErrTooLarge},
		{"less than itself", link.Prefix{Width: 2, Inclusive: true}, "", "\x00\x01", nil},
		{"less than Adjust", link.Prefix{Width: 2, Adjust: 7}, "", "\x00\x06", nil},
		{"too short for Adjust", link.Prefix{Width: 2, Adjust: -7}, "abc", "", nil},
		{"no room for the length", link.Prefix{Width: 2, Offset: 4}, "abc", "", nil},
		{"varint beyond Max", link.Prefix{Uvarint: true, Max: 100}, long, "\xff\x7f", link.ErrTooLarge},
		{"varint of too many bytes", link.Prefix{Uvarint: true}, "", "\x80\x00", nil},
		{"varint of more than 64 bits", link.Prefix{Uvarint: true}, "", strings.Repeat("\xff", 11), nil},
		{"varint that never ends", link.Prefix{Uvarint: true}, "", strings.Repeat("\x80", 10), nil},
		{"not fixed", link.Fixed(3), "abcd", "", nil},
		{"delimiter within", link.Delimiter{}, "a\nb", "", nil},
		{"delimiter across", link.Delimiter{End: "aa"}, "xa", "", nil},
		{"line too long", link.Delimiter{Max: 100}, long, long, link.ErrTooLarge},
		{"whole line too long", link.Delimiter{Max: 100}, "", long + "\n", link.ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.send != "" {
				if _, err := seal(c.f, nil, c.send); err == nil || c.err != nil && !errors.Is(err, c.err) {
					t.Errorf("sending %d bytes: %v, want %v", len(c.send), err, c.err)
				}
			}
			if c.recv != "" {
				if _, n, err := c.f.Next([]byte(c.recv), 0); err == nil || c.err != nil && !errors.Is(err, c.err) {
					t.Errorf("receiving %q: %d, %v, want %v", c.recv, n, err, c.err)
				}
			}
		})
	}
}

// A configuration that cannot work is refused with what is wrong.
func TestConfigIsChecked(t *testing.T) {
	for want, c := range map[string]bytesConfig{
		"Prefix.Width":   {Framer: link.Prefix{Width: 9}},
		"Prefix.Offset":  {Framer: link.Prefix{Offset: -1}},
		"Prefix.Adjust":  {Framer: link.Prefix{Adjust: 1 << 30}},
		"Prefix.Max":     {Framer: link.Prefix{Max: 3}},
		"Prefix.Uvarint": {Framer: link.Prefix{Uvarint: true, Offset: 1}},
		"Fixed(0)":       {Framer: link.Fixed(0)},
		"Binary":         {Codec: link.Binary[[]byte, []byte]{}},
		"BusyPoll":       {BusyPoll: 1 << 62},
	} {
		x, y := tcpPair(t)
		if _, err := link.New(noContext, x, true, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%+v: %v, want one that names %s", c, err, want)
		}
		if _, err := y.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: the stream is left open: %v", want, err)
		}
		if _, err := link.Listen("tcp", "127.0.0.1:0", c); err == nil {
			t.Errorf("%s: Listen takes it", want)
		}
	}
}

func seal(f link.Framer, dst []byte, contents string) ([]byte, error) {
	start := len(dst)
	return f.Seal(append(f.Open(dst), contents...), start)
}

// framers are those that are fuzzed, each with a maximum.
var framers = []struct {
	f   link.Framer
	max int
}{
	{link.Prefix{Max: 1000}, 1000},
	{link.Prefix{Width: 1}, 256},
	{link.Prefix{Width: 2, Inclusive: true, LittleEndian: true, Max: 1000}, 1000},
	{link.Prefix{Width: 8, Offset: 3, Adjust: 5, Max: 1000}, 1000},
	{link.Prefix{Width: 3, Adjust: -2, Max: 1000}, 1000},
	{link.Prefix{Uvarint: true, Max: 1000}, 1000},
	{link.Delimiter{Max: 1000}, 1000},
	{link.Delimiter{End: "abab", Max: 1000}, 1000},
	{link.Fixed(7), 7},
}

// cut returns the contents of the frames of wire, of which chunk more bytes
// are there each time, and the error that ends it.
func cut(t *testing.T, f link.Framer, most int, wire []byte, chunk func() int) (frames []string, err error) {
	at, have, seen := 0, 0, 0
	for {
		frame, n, err := f.Next(wire[at:have], seen)
		switch {
		case err != nil:
			return frames, err
		case n <= 0:
			t.Fatalf("%#v: a frame of %d bytes", f, n)
		case n <= have-at:
			if len(frame) > most {
				t.Fatalf("%#v: a frame of %d bytes, the maximum is %d", f, len(frame), most)
			}
			frames = append(frames, string(frame))
			at, seen = at+n, 0
		case n > most+16:
			t.Fatalf("%#v: asks for %d bytes, the maximum is %d", f, n, most)
		case have == len(wire):
			return frames, nil
		default:
			seen = have - at
			have = min(len(wire), have+chunk())
		}
	}
}

// FuzzFramers checks for every framer that whatever arrives gives the same
// frames whole and cut anywhere, never asks for more than the maximum, and that
// what can be sent is received.
func FuzzFramers(f *testing.F) {
	for _, s := range []string{"", "abc\n\ndef\n", "\x00\x00\x00\x03abc\x00\x00\x00\x00", "\x03abc\x80\x01", "xababab", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		for i := range framers {
			f.Add([]byte(s), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		c := framers[int(which)%len(framers)]
		whole, errWhole := cut(t, c.f, c.max, data, func() int { return len(data) + 1 })
		single, errSingle := cut(t, c.f, c.max, data, func() int { return 1 })
		if strings.Join(whole, "|") != strings.Join(single, "|") || (errWhole == nil) != (errSingle == nil) {
			t.Fatalf("%#v: whole %q, %v; byte by byte %q, %v", c.f, whole, errWhole, single, errSingle)
		}
		if len(data) < 100 { // in two, everywhere
			for i := 1; i < len(data); i++ {
				parts := []int{i, len(data)}
				two, err := cut(t, c.f, c.max, data, func() int { n := parts[0]; parts = parts[1:]; return n })
				if strings.Join(two, "|") != strings.Join(whole, "|") || (err == nil) != (errWhole == nil) {
					t.Fatalf("%#v: cut at %d: %q, %v, want %q, %v", c.f, i, two, err, whole, errWhole)
				}
			}
		}
		wire, err := seal(c.f, nil, string(data))
		if err != nil {
			return
		}
		frames, err := cut(t, c.f, c.max, append(wire, wire...), func() int { return 1 })
		if err != nil || len(frames) != 2 || len(frames[0]) != len(data) {
			t.Fatalf("%#v: %q was sent twice; received %q, %v", c.f, data, frames, err)
		}
	})
}
