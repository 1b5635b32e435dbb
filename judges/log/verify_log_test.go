package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "log.example/test"

// A testLog writes logs with the library alone.
type testLog struct {
	t      *testing.T
	signer note.Signer
	key    string
}

func newLog(t *testing.T) testLog {
	secret, key, err := note.GenerateKey(rand.Reader, origin)
	must(t, err)
	signer, err := note.NewSigner(secret)
	must(t, err)
	return testLog{t, signer, key}
}

// write puts a log of these entries into a new directory.
func (l testLog) write(entries []string) string {
	dir := l.t.TempDir()
	stored := &memory{}
	size := int64(len(entries))
	for i, entry := range entries {
		hashes, err := tlog.StoredHashes(int64(i), []byte(entry), stored)
		must(l.t, err)
		stored.hashes = append(stored.hashes, hashes...)
	}
	for _, tile := range publishedTiles(size) {
		data, err := tlog.ReadTileData(tile, stored)
		must(l.t, err)
		save(l.t, filepath.Join(dir, layout(tile)), data)
		if tile.L == 0 {
			var bundle []byte
			for i := 0; i < tile.W; i++ {
				entry := entries[tile.N*tileWidth+int64(i)]
				bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry)))
				bundle = append(bundle, entry...)
			}
			path := strings.Replace(layout(tile), "tile/0/", "tile/entries/", 1)
			save(l.t, filepath.Join(dir, path), bundle)
		}
	}
	root, err := treeHash(size, stored)
	must(l.t, err)
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, l.signer)
	must(l.t, err)
	save(l.t, filepath.Join(dir, "checkpoint"), signed)
	return dir
}

func TestWholeLogs(t *testing.T) {
	log := newLog(t)
	for _, size := range []int{0, 1, 2, 255, 256, 257, 700, 66000} {
		dir := log.write(entries(size))
		before := filepath.Join(log.write(entries((size+1)/2)), "checkpoint")
		check(t, dir, log.key, int64(size/3), before, "")
	}
}

func TestLogsBehindURLs(t *testing.T) {
	log := newLog(t)
	dir := log.write(entries(600))
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	read := readURL(server.Client(), server.URL)
	for _, hashes := range []bool{false, true} {
		if _, err := verify(read, log.key, 100, "", hashes); err != nil {
			t.Errorf("refused a whole log: %v", err)
		}
	}
	must(t, os.RemoveAll(filepath.Join(dir, "tile/entries")))
	if _, err := verify(read, log.key, 100, "", true); err != nil {
		t.Errorf("wanted entries of a log of hashes: %v", err)
	}
	flip(t, filepath.Join(dir, "tile/0/001"))
	_, err := verify(read, log.key, 100, "", true)
	if err == nil || !strings.Contains(err.Error(), "tree hash") {
		t.Errorf("took other hashes: %v", err)
	}
}

func TestTamperedLogs(t *testing.T) {
	log := newLog(t)
	whole := entries(600)
	good := filepath.Join(log.write(whole), "checkpoint")
	edited := append([]string{}, whole...)
	edited[17] = "entry 17, edited"
	swapped := append([]string{}, whole...)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	forks := map[string][]string{
		"edit":    edited,
		"delete":  append(append([]string{}, whole[:5]...), whole[6:]...),
		"insert":  append([]string{"entry -1"}, whole...),
		"reorder": swapped,
	}
	for name, fork := range forks {
		dir := log.write(append(fork, "more"))
		t.Run(name+" with a new checkpoint", func(t *testing.T) {
			check(t, dir, log.key, 0, good, "consistency")
		})
		t.Run(name+" with the old checkpoint", func(t *testing.T) {
			copyFile(t, good, filepath.Join(dir, "checkpoint"))
			check(t, dir, log.key, 0, "", "entries")
		})
	}
	dir := log.write(whole)
	must(t, os.Remove(filepath.Join(dir, "tile/entries/001")))
	check(t, dir, log.key, 0, "", "entries")
	dir = log.write(whole)
	flip(t, filepath.Join(dir, "tile/0/001"))
	check(t, dir, log.key, 0, "", "tiles: hash 0 of tile/0/001")
	dir = log.write(whole)
	check(t, dir, newLog(t).key, 0, "", "checkpoint")
	check(t, log.write(whole[:300]), log.key, 0, good, "consistency")
	check(t, dir, log.key, 600, "", "inclusion")
}

// check verifies a log; an empty want means that it must be whole.
func check(t *testing.T, dir, key string, index int64, old, want string) {
	t.Helper()
	_, err := verify(readFile(dir), key, index, old, false)
	switch {
	case want == "" && err != nil:
		t.Errorf("refused a whole log: %v", err)
	case want != "" && err == nil:
		t.Errorf("took a log that lacks %s", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("%v\nlacks %s", err, want)
	}
}

func entries(size int) []string {
	var all []string
	for i := 0; i < size; i++ {
		all = append(all, fmt.Sprint("entry ", i))
	}
	return all
}

func save(t *testing.T, path string, data []byte) {
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, data, 0o644))
}

func copyFile(t *testing.T, from, to string) {
	data, err := os.ReadFile(from)
	must(t, err)
	save(t, to, data)
}

func flip(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	must(t, err)
	data[0] ^= 1
	save(t, path, data)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
