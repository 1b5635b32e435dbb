// Verify-log checks a log of Ambit with code that Ambit's authors did not write:
// golang.org/x/mod/sumdb, the library behind the Go checksum database.
//
// It reads a directory or a URL in the C2SP tlog-tiles layout (checkpoint, tile/L/N, tile/entries/N)
// and checks the signature of the checkpoint, the tree hash computed from all entries, every
// stored hash tile, the inclusion of one entry, and consistency with an older checkpoint.
// With -hashes the entries are left out: everything is computed from the lowest level of tiles.
//
// It prints OK and exits 0, or prints what is wrong and exits 1; 2 is a wrong command line.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tileHeight is fixed by C2SP tlog-tiles: 256 hashes in a tile.
const tileHeight = 8

// tileWidth is the number of hashes, or entries, in a full tile.
const tileWidth = 1 << tileHeight

// entriesMax bounds the work: a log of the tests is far smaller.
const entriesMax = 1 << 24

// A checkpoint is a signed statement that a log of this origin has this tree.
type checkpoint struct {
	origin string
	tree   tlog.Tree
}

func main() {
	dir := flag.String("dir", "", "directory of the log (tlog-tiles layout)")
	url := flag.String("url", "", "URL of the log, instead of a directory")
	roots := flag.String("roots", "", "file with the certificates that the URL's server is trusted by (PEM)")
	hashes := flag.Bool("hashes", false, "read no entries: check hashes only")
	key := flag.String("key", "", "verifier key of the log (C2SP signed-note vkey)")
	index := flag.Int64("index", -1, "entry whose inclusion is proved (default: the last)")
	old := flag.String("old", "", "file with an older checkpoint that this log must extend")
	flag.Parse()
	if (*dir == "") == (*url == "") || *key == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	read := readFile(*dir)
	if *url != "" {
		client, err := trusting(*roots)
		if err != nil {
			fmt.Println("FAILED:", err)
			os.Exit(1)
		}
		read = readURL(client, *url)
	}
	now, err := verify(read, *key, *index, *old, *hashes)
	if err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
	fmt.Printf("OK %s %d %s\n", now.origin, now.tree.N, now.tree.Hash)
}

// A reader returns what lies at a path of a log; fs.ErrNotExist when there is nothing.
type reader func(path string) ([]byte, error)

func readFile(dir string) reader {
	return func(path string) ([]byte, error) {
		return os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
	}
}

// answerBytesMax bounds what is read of one answer: an entry bundle is the longest.
const answerBytesMax = tileWidth * (2 + 1<<16)

func readURL(client *http.Client, url string) reader {
	return func(path string) ([]byte, error) {
		answer, err := client.Get(strings.TrimSuffix(url, "/") + "/" + path)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if answer.StatusCode == http.StatusNotFound {
			return nil, fmt.Errorf("%s: %w", path, os.ErrNotExist)
		}
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s", path, answer.Status)
		}
		return io.ReadAll(io.LimitReader(answer.Body, answerBytesMax))
	}
}

// trusting returns a client that trusts the certificates in a file, or those of the machine.
func trusting(roots string) (*http.Client, error) {
	if roots == "" {
		return http.DefaultClient, nil
	}
	text, err := os.ReadFile(roots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", roots)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	return &http.Client{Transport: transport}, nil
}

// verify checks the whole log that read reads and returns its checkpoint.
func verify(read reader, key string, index int64, old string, hashes bool) (checkpoint, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return checkpoint{}, fmt.Errorf("verifier key: %w", err)
	}
	now, err := readCheckpoint(read, "checkpoint", verifier)
	if err != nil {
		return now, err
	}
	leaves := readBundle
	if hashes {
		leaves = readLeafHashes
	}
	stored, err := checkLeaves(read, now.tree, leaves)
	if err != nil {
		return now, err
	}
	if err := checkTiles(read, now.tree.N, stored); err != nil {
		return now, err
	}
	tiles := tlog.TileHashReader(now.tree, &tileReader{read: read})
	if index < 0 {
		index = now.tree.N - 1
	}
	if now.tree.N > 0 {
		if err := checkInclusion(tiles, now.tree, stored, index); err != nil {
			return now, err
		}
	}
	if old != "" {
		before, err := readCheckpoint(os.ReadFile, old, verifier)
		if err != nil {
			return now, fmt.Errorf("older %w", err)
		}
		return now, checkConsistency(tiles, now.tree, before.tree)
	}
	return now, nil
}

// readCheckpoint opens a C2SP tlog-checkpoint: origin, size and root hash, signed as a note.
func readCheckpoint(read reader, path string, verifier note.Verifier) (checkpoint, error) {
	text, err := read(path)
	if err != nil {
		return checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 {
		return checkpoint{}, errors.New("checkpoint: fewer than three lines")
	}
	if lines[0] != verifier.Name() {
		return checkpoint{}, fmt.Errorf("checkpoint: origin %q is not %q", lines[0], verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > entriesMax || strconv.FormatInt(size, 10) != lines[1] {
		return checkpoint{}, fmt.Errorf("checkpoint: size %q", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return checkpoint{}, fmt.Errorf("checkpoint: root hash %q", lines[2])
	}
	found := checkpoint{origin: lines[0], tree: tlog.Tree{N: size}}
	copy(found.tree.Hash[:], root)
	return found, nil
}

// checkLeaves computes the tree over all leaves and compares it with the checkpoint. The leaves of one tile are
// what leaves returns: hashes of entries, or hashes as they are stored.
func checkLeaves(read reader, tree tlog.Tree, leaves func(reader, int64, int) ([]tlog.Hash, error)) (*memory, error) {
	stored := &memory{}
	count := int64(0)
	for first := int64(0); first < tree.N; first += tileWidth {
		width := tree.N - first
		if width > tileWidth {
			width = tileWidth
		}
		found, err := leaves(read, first/tileWidth, int(width))
		if err != nil {
			return nil, err
		}
		for _, leaf := range found {
			hashes, err := tlog.StoredHashesForRecordHash(count, leaf, stored)
			if err != nil {
				return nil, err
			}
			stored.hashes = append(stored.hashes, hashes...)
			count++
		}
	}
	root, err := treeHash(tree.N, stored)
	if err != nil {
		return nil, err
	}
	if root != tree.Hash {
		return nil, fmt.Errorf("entries: their tree hash %s is not the checkpoint's %s", root, tree.Hash)
	}
	return stored, nil
}

// treeHash is the root hash of RFC 6962, where the empty tree has the hash of nothing. The library
// gives zeros for the empty tree.
func treeHash(size int64, stored tlog.HashReader) (tlog.Hash, error) {
	if size == 0 {
		return sha256.Sum256(nil), nil
	}
	return tlog.TreeHash(size, stored)
}

// readLeafHashes reads one tile of the lowest level.
func readLeafHashes(read reader, number int64, width int) ([]tlog.Hash, error) {
	tile := tlog.Tile{H: tileHeight, L: 0, N: number, W: width}
	data, err := (&tileReader{read: read}).ReadTiles([]tlog.Tile{tile})
	if err != nil {
		return nil, fmt.Errorf("tiles: %w", err)
	}
	hashes := make([]tlog.Hash, width)
	for i := range hashes {
		copy(hashes[i][:], data[0][i*tlog.HashSize:])
	}
	return hashes, nil
}

// readBundle reads one entry bundle, entries each behind its length in two bytes, and returns their hashes.
func readBundle(read reader, number int64, width int) ([]tlog.Hash, error) {
	// The level is only a name here: the path of an entry bundle is that of a tile.
	tile := tlog.Tile{H: tileHeight, L: 0, N: number, W: width}
	path := strings.Replace(layout(tile), "tile/0/", "tile/entries/", 1)
	data, err := readWide(read, path, tile)
	if err != nil {
		return nil, fmt.Errorf("entries: %w", err)
	}
	var entries []tlog.Hash
	for len(entries) < width {
		if len(data) < 2 {
			return nil, fmt.Errorf("entries: %s ends before entry %d", path, len(entries))
		}
		length := int(binary.BigEndian.Uint16(data))
		data = data[2:]
		if len(data) < length {
			return nil, fmt.Errorf("entries: %s ends within entry %d", path, len(entries))
		}
		entries = append(entries, tlog.RecordHash(data[:length]))
		data = data[length:]
	}
	return entries, nil
}

// checkTiles compares every hash tile with the one that the entries give.
//
// The library's own check of tiles (TileHashReader, x/mod 0.7) passes over some full tiles when
// subtrees of the root share a tile, so each tile is compared byte by byte.
func checkTiles(read reader, size int64, stored tlog.HashReader) error {
	tiles := &tileReader{read: read}
	for _, tile := range publishedTiles(size) {
		want, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return err
		}
		found, err := tiles.ReadTiles([]tlog.Tile{tile})
		if err != nil {
			return fmt.Errorf("tiles: %w", err)
		}
		for i := 0; i < tile.W; i++ {
			at := i * tlog.HashSize
			if !bytes.Equal(found[0][at:at+tlog.HashSize], want[at:at+tlog.HashSize]) {
				return fmt.Errorf("tiles: hash %d of %s is not the one that the entries give", i, layout(tile))
			}
		}
	}
	return nil
}

// publishedTiles are the tiles that a log of this size must have. The library (x/mod 0.7) also lists each
// partial tile at every smaller width, which a log that grew by more than one entry never had.
func publishedTiles(size int64) []tlog.Tile {
	var widest []tlog.Tile
	for _, tile := range tlog.NewTiles(tileHeight, 0, size) {
		last := len(widest) - 1
		if last >= 0 && widest[last].L == tile.L && widest[last].N == tile.N {
			widest[last] = tile
			continue
		}
		widest = append(widest, tile)
	}
	return widest
}

func checkInclusion(tiles tlog.HashReader, tree tlog.Tree, stored *memory, index int64) error {
	if index >= tree.N {
		return fmt.Errorf("inclusion: entry %d is not among %d", index, tree.N)
	}
	proof, err := tlog.ProveRecord(tree.N, index, tiles)
	if err != nil {
		return fmt.Errorf("inclusion of entry %d: %w", index, err)
	}
	leaf := stored.hashes[tlog.StoredHashIndex(0, index)]
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf); err != nil {
		return fmt.Errorf("inclusion of entry %d: %w", index, err)
	}
	return nil
}

func checkConsistency(tiles tlog.HashReader, now, before tlog.Tree) error {
	if before.N > now.N {
		return fmt.Errorf("consistency: the older checkpoint has %d entries, this one %d", before.N, now.N)
	}
	if before.N == 0 {
		return nil // Every log extends the empty one.
	}
	proof, err := tlog.ProveTree(now.N, before.N, tiles)
	if err != nil {
		return fmt.Errorf("consistency with size %d: %w", before.N, err)
	}
	if err := tlog.CheckTree(proof, now.N, now.Hash, before.N, before.Hash); err != nil {
		return fmt.Errorf("consistency with size %d: %w", before.N, err)
	}
	return nil
}

// tileReader reads hash tiles.
type tileReader struct{ read reader }

func (r *tileReader) Height() int { return tileHeight }

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := readWide(r.read, layout(tile), tile)
		if err != nil {
			return nil, err
		}
		want := tile.W * tlog.HashSize
		if len(data) < want {
			return nil, fmt.Errorf("%s: %d bytes, not %d", layout(tile), len(data), want)
		}
		all = append(all, data[:want])
	}
	return all, nil
}

func (r *tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

// layout is the path of a tile in C2SP tlog-tiles, which leaves the height out.
func layout(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1)
}

// readWide reads a partial tile, or the full one that replaced it when the log grew.
func readWide(read reader, path string, tile tlog.Tile) ([]byte, error) {
	data, err := read(path)
	if errors.Is(err, os.ErrNotExist) && tile.W < tileWidth {
		return read(strings.TrimSuffix(path, fmt.Sprintf(".p/%d", tile.W)))
	}
	return data, err
}

// memory keeps stored hashes as the library numbers them.
type memory struct{ hashes []tlog.Hash }

func (m *memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("no stored hash %d", index)
		}
		found[i] = m.hashes[index]
	}
	return found, nil
}
