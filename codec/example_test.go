package codec_test

import (
	"errors"
	"fmt"

	"github.com/plexus-net/plexus/codec"
)

type request struct {
	Name  string `codec:"n"`
	Limit int    `codec:"l,omitempty"`
}

func Example() {
	payload, err := codec.Default.Append(nil, &request{Name: "peers", Limit: 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q\n", payload)

	var r request
	fmt.Println(codec.Default.Decode(payload, &r), r)
	// Output:
	// "\x82\xa1l\x14\xa1n\xa5peers"
	// <nil> {peers 20}
}

// What a remote sent is told apart from what the program did wrong.
func ExampleCodec_errors() {
	c := codec.Msgpack(codec.Limits{Size: 1000})
	var r request
	err := c.Decode([]byte("\x82\xa1l\x14\xa1n\xa5pee"), &r)
	fmt.Println(errors.Is(err, codec.ErrTruncated))
	err = c.Decode(make([]byte, 2000), &r)
	fmt.Println(errors.Is(err, codec.ErrTooLarge), err)
	_, err = c.Append(nil, make(chan int))
	fmt.Println(err)
	// Output:
	// true
	// true codec: too large: 2000 bytes, Limits.Size allows 1000
	// codec: unsupported: type chan int: chan int has no encoding
}

// Bytes that get signed are made by Canonical, which sorts the keys of maps.
func ExampleCanonical() {
	signed, err := codec.Canonical(codec.Limits{}).Append(nil, map[string]int{"b": 2, "c": 3, "a": 1})
	fmt.Printf("%q %v\n", signed, err)
	// Output: "\x83\xa1a\x01\xa1b\x02\xa1c\x03" <nil>
}

func ExampleJSON() {
	text, err := codec.JSON(codec.Limits{}).Append(nil, &request{Name: "peers"})
	fmt.Printf("%s %v\n", text, err)
	// Output: {"Name":"peers","Limit":0} <nil>
}

func ExampleRaw() {
	data, err := codec.Raw(codec.Limits{}).Append([]byte("header "), "body")
	fmt.Printf("%s %v\n", data, err)
	// Output: header body <nil>
}
