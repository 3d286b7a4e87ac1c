// Package codec encodes and decodes the payloads of messages.
//
// A [Codec] turns a Go value into bytes and back. [Default] is msgpack with the
// default limits and is what plexus uses where nothing else is asked for:
//
//	payload, err := codec.Default.Append(nil, &request)
//	err = codec.Default.Decode(payload, &request)
//
// What a remote sends is not trusted. Before anything is decoded, one pass over
// the bytes, which allocates nothing but a table for the keys of large maps,
// checks them against the Go type that they are to become: every length against
// the bytes that are there, nesting, number of elements, keys that occur twice,
// bytes left over, and the memory that the result would take. Input that fails is refused with one of the errors of this
// package and costs nothing else. See [Limits].
//
//	bytes ──> scan against the type of v ──> library ──> *v
//	             │ refused: ErrTruncated, ErrTooLarge, ...
//
// Append checks the same limits, so that what it returns can be decoded by a
// peer with equal limits, and a mistake shows where it was made.
//
// # What is on the wire
//
// Both ends of a message share its Go type, and the type alone decides how the
// payload is encoded. For [Msgpack] and [Canonical], the first that fits:
//
//	T                                                payload
//	[]byte, string                                   the bytes themselves
//	AppendBinary and UnmarshalBinary                 what AppendBinary appends
//	MarshalMsg and UnmarshalMsg (tinylib/msgp)       what MarshalMsg appends
//	MarshalBinary and UnmarshalBinary                what MarshalBinary returns
//	everything else                                  msgpack
//
// Types of the first five rows bring their own encoding. It is used directly,
// without reflection, and of this package's checks only the size applies to it.
// It is also not self-describing: a payload that Append made of a T can only be
// decoded into a T. In particular the payload of a string is not that of an any
// that holds a string. Generic code therefore hands pointers to both, as above:
// Append(dst, &v) and Decode(data, &v) are inverse for every type of v.
//
// In msgpack proper, structs are maps from field names to values, so that a
// newer peer may send fields that an older one does not know, which are skipped,
// and leave out others, which become zero. A field named "_struct" of any type
// with the tag `codec:",toarray"` makes its struct an array: a third smaller and
// faster, for types that never change. Names come from the tag "codec", or
// "json" if there is none. Times keep nanoseconds and lose their zone. Types that
// have both MarshalBinary and UnmarshalBinary are binary strings, also as keys of
// maps. In an any, integers become int64, arrays []any and maps map[string]any.
//
// [JSON] is encoding/json with the same limits, for people and browsers, and
// [Raw] is for payloads that are bytes already.
//
// # What types can be sent
//
// Numbers other than complex ones, booleans, strings, times, and structs,
// arrays, slices, maps and pointers of them, recursive types too; any, but no
// other interface; keys of maps are strings, integers, booleans, byte arrays, or
// types with an encoding of their own. Field names are ASCII, unique within a
// struct and what it embeds, and at most 128. [ErrUnsupported] tells what is
// wrong with a type.
//
// The suite in codec/codectest checks a codec of your own.
package codec
