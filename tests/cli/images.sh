#!/usr/bin/env bash
# images.sh EVENER REPO - images: evener embed and evener classify with a Vision Transformer against float64, on one rank, two and
# three; files that are no images or not whole.
. "$(dirname "$0")/lib.sh"
without mesa rusticl
vit() { python3 "$repo/tests/cli/vit.py" "$@" || fail "$*"; }

vit make folder
vit make middle resample=3 do_center_crop=true 'size={"shortest_edge":48}' 'crop_size={"height":40,"width":40}'
vit images made 9
images=(made/*.png)
vit check folder "$evener" folder "${images[@]}" -- -d pocl
vit check folder "$evener" folder "${images[@]}" -- -d pocl/1+1 --shares 9,1 --pooling mean # one rank has no heads
vit check middle "$evener" middle "${images[@]:1}" -- -d pocl/1+1 --shares 2,1
if [ -e drivers/intel.icd ]; then
	vit check folder "$evener" folder "${images[@]:0:4}" -- -d pocl/1+1,intel --shares 3,1,2
fi
rm -f drivers/intel.icd
"$evener" quantize folder f.gguf F32 >/dev/null && vit check folder "$evener" f.gguf "${images[@]:0:4}" -- -d pocl
"$evener" embed -m folder -d pocl --image "${images[@]}" >v.all && "$evener" embed -m folder -d pocl --image made/4.png | cmp - <(sed -n 5p v.all) ||
	fail 'alone: another vector'
for kind in jpg png; do
	"$evener" embed -m folder -d pocl --image "$repo/tests/data/waves.$kind" >"v.$kind" || fail "waves.$kind: failed"
done
cmp v.jpg v.png || fail 'JPEG: other pixels'
"$evener" embed -m folder -d pocl --image made/1.png --image made/1.png made/2.png --similarity pairs >pairs &&
	[[ $(head -1 pairs) == *"1.0000  1  2  made/1.png | made/1.png" ]] || fail "pairs: $(cat pairs)"

# Tiles. With given shares the ranks take as many; the vectors of both splits are the same.
vit tiles folder "$evener" 2x3 mean tensor:12 made/2.png made/3.png -- -d pocl -q
vit tiles folder "$evener" 2x2 max sequence:2,6 made/2.png made/3.png -- -d pocl/1+1 --shares 1,3 --split sequence -q
vit tiles folder "$evener" 3x2 mean sequence:any made/{2..4}.png -- -d pocl/1+1 --split sequence -q
vit tiles folder "$evener" 1x2 mean tensor:2,2 made/2.png -- -d pocl/1+1 --split tensor -q
for how in tensor sequence; do
	"$evener" embed -m folder -d pocl/1+1 --shares 1,1 --split $how --tiles 2x2 --image made/2.png made/3.png >"v.$how" || fail "$how: failed"
done
python3 - <<'PY' || fail 'tiles: other vectors'
a, b = ([[float(x) for x in line.split()] for line in open(n)] for n in ("v.tensor", "v.sequence"))
assert len(a) == len(b) == 8 and max(abs(x - y) for r, s in zip(a, b) for x, y in zip(r, s)) < 1e-5
PY
"$evener" embed -m folder -d pocl --tiles 1x2 --image made/2.png --similarity pairs | grep -q 'made/2.png\[1,1\] | made/2.png\[1,2\]$' ||
	fail 'pairs of tiles'
for kind in svg png; do
	"$evener" classify -m folder -d pocl --tiles 2x2 --image made/2.png --picture found.$kind >found 2>/dev/null || fail "picture: $kind"
done
[ "$(wc -l <found)" = 5 ] && grep -qP '\tmade/2.png\[2,2\]$' found || fail "tiles: $(cat found)"
python3 -c 'import sys, xml.dom.minidom as x; x.parse("found.svg"); sys.exit(open("found.png", "rb").read(4) != b"\x89PNG")' || fail 'picture'
for grid in 0x2 2 65x1 2x2x2 ' 2x2' axb; do
	refuse 2 "--tiles: '$grid', expected rows and columns of 1 to 64" classify -m folder --tiles "$grid" --image made/0.png
done
refuse 2 'made/5.png: ' classify -m folder -d pocl --tiles 64x64 --image made/5.png
refuse 2 '--picture draws one image, and there are 2' classify -m folder --picture x.png --image made/0.png made/1.png
refuse 2 '--learn works without --tiles' classify -m folder -f made/known.csv --learn x.gguf --tiles 2x2
"$repo/scripts/make-tiny-model" llama.gguf && refuse 2 '--tiles is for images' embed -m llama.gguf -p a --tiles 2x2 -d pocl

# A head that is learned from images, whose paths are relative to the CSV file.
{
	echo image,which
	for i in {0..8}; do echo "$i.png,$((i % 2 ? 1 : 0))"; done
} >made/known.csv
"$evener" classify -m folder -d pocl -f made/known.csv --learn head.gguf --held-out 0 --json >learned.json && grep -q '"accuracy": *1' learned.json ||
	fail "learn: $(cat learned.json)"
"$evener" classify -m folder -d pocl --head head.gguf -f made/known.csv --label which >known 2>err && grep -q '^9 of 9 records' err &&
	grep -qP '^1\t0\.\d+\tmade/1.png$' known || fail "known: $(cat known err)"
printf 'version: 1\nmodel: {path: folder}\ndevices: [{match: pocl}]\nclassify: {head: head.gguf}\n' >c.yaml
"$evener" classify c.yaml --image made/1.png 2>/dev/null | cmp - <(grep made/1.png known) || fail 'config: another class'

# A made set: a head that is learned on shapes knows others well, alone and as tiles of one image (chance: 25 %).
vit make-wide wide
vit shapes shown 640 1
vit shapes other 160 2
for i in {1..5}; do vit scene scene$i.png 7$i triangle circle cross square; done
"$evener" classify -m wide -d pocl/1+1 -f shown/shapes.csv --learn shapes.gguf --picture confusion.svg --json >learned.json || fail 'shapes: not learned'
"$evener" classify -m wide -d pocl -f other/shapes.csv --label shape --head shapes.gguf --json >new.json || fail 'shapes: failed'
"$evener" classify -m wide -d pocl --head shapes.gguf --tiles 2x2 --join max --image scene{1..5}.png --json >scene.json &&
	"$evener" classify -m wide -d pocl --head shapes.gguf --tiles 2x2 --image scene1.png --picture scene.svg -q >/dev/null || fail 'scenes: failed'
python3 - <<'PY' || fail "shapes: $(head -c 300 learned.json)"
import json, xml.dom.minidom
learned, new, scene = (json.load(open(n)) for n in ("learned.json", "new.json", "scene.json"))
tiles = [t["label"] for image in scene["images"] for t in image["tiles"]]
right = sum(a == b for a, b in zip(tiles, 5 * ["triangle", "circle", "cross", "square"], strict=True))
print(f"  shapes: held out {learned['held_out_accuracy']:.3f}, others {new['accuracy']:.3f}, {right} of 20 tiles")
assert learned["held_out"] == 128 and learned["held_out_accuracy"] > 0.75 and new["accuracy"] > 0.75 and len(new["images"]) == 160
assert right >= 14, tiles
for name in ("confusion.svg", "scene.svg"):
    xml.dom.minidom.parse(name)
PY

bad() { refuse "$1" "$2" embed -m folder -d pocl --image "${@:3}"; }
bad 1 'none.png: No such file' made/0.png none.png
: >empty.png
bad 1 'empty.png: is empty' empty.png
echo text >text.png
bad 1 'text.png: not an image, expected a PNG or JPEG file' text.png
head -c 3000 made/2.png >cut.png
bad 1 'cut.png: a damaged PNG file' cut.png
head -c 1200 "$repo/tests/data/waves.jpg" >cut.jpg
bad 1 'cut.jpg: a damaged JPEG file: Premature end of JPEG file' cut.jpg
head -c 100 "$repo/tests/data/waves.jpg" >head.jpg
bad 1 'head.jpg: a damaged JPEG file' head.jpg
head -c 20 made/2.png >head.png
bad 1 'head.png: a damaged PNG file' head.png
python3 -c 'import struct, sys, zlib
ihdr = b"IHDR" + struct.pack(">IIBBBBB", 200000, 200000, 8, 2, 0, 0, 0)
open("huge.png", "wb").write(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr)) +
    struct.pack(">I", 4) + b"IDATabcd" + struct.pack(">I", zlib.crc32(b"IDATabcd")))'
bad 1 'huge.png: 200000 x 200000 pixels' huge.png
refuse 2 'folder reads images; give --image FILE' embed -m folder -p a
refuse 2 '--image and --file exclude each other' classify -m folder --image made/0.png -f made/known.csv
refuse 1 'at most 20 fit into the context (-c)' embed -m folder -d pocl -c 20 --image made/0.png
python3 "$repo/tests/cli/encoder.py" make e.gguf bert
refuse 2 '--image: e.gguf reads texts, not images' embed -m e.gguf -d pocl --image made/0.png

broken() { # FILE CHANGES CULPRIT
	cp -r folder broken
	[ "$1" = config.json ] && rm broken/preprocessor_config.json
	python3 -c "import json; f = 'broken/$1'; d = json.load(open(f)); d.update($2); json.dump(d, open(f, 'w'))"
	refuse 1 "$3" embed -m broken --image made/0.png
	rm -r broken
}
broken config.json '{"image_size": 48}' 'tensor "v.position_embd.weight" has 26 rows, expected 37'
broken config.json '{"patch_size": 20, "image_size": 100}' 'tensor "v.patch_embd.weight" is [192, 48, 1, 1], expected [1200, 48]'
broken config.json '{"patch_size": 7}' '"image_size": expected a multiple of patch_size'
broken config.json '{"num_channels": 1}' '"num_channels": expected 3'
broken config.json '{"hidden_act": "relu"}' '"hidden_act" is "relu"'
broken preprocessor_config.json '{"size": {"height": 20, "width": 20}}' 'makes images of another size than 40 x 40'
broken preprocessor_config.json '{"image_std": [0, 1, 1]}' '"image_std": expected three numbers'
broken preprocessor_config.json '{"resample": 0}' '"resample": expected 2 (bilinear) or 3 (bicubic)'
rm folder/preprocessor_config.json
"$evener" embed -m folder -d pocl --image made/0.png >/dev/null || fail 'without preprocessor_config.json: failed'
finish
