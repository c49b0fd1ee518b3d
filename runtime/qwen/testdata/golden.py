"""Writes golden.safetensors: what diffusers' pipelines make of a picture and a prompt, from
the files of the generated model set.

    go run ./verify/modelset/modelsettest/write DIR
    python3 -m venv venv && venv/bin/pip install \
        torch==2.12.0 torchvision diffusers==0.42.1 transformers==5.17.0 numpy==2.4.6 \
        pillow==12.3.0 safetensors
    venv/bin/python golden.py DIR

Everything runs in float64 on the CPU. The transformer is the dense one that the packed
checkpoint stands for, made by ../transformer/testdata/golden.py. Three things of the
pipelines are replaced, none of them arithmetic:

- the areas, written into the pipelines as numbers, are AREA and CONDITION;
- the number of dropped positions, likewise written down, is counted with the set's tokenizer;
- the text encoder is given mm_token_type_ids, without which this version of transformers
  takes pictures' tokens for text (diffusers#14194).

The image processor is the one that resizes with Pillow, as when the model was made. Pictures
are a function of their coordinates (see picture), the noise is stored.

For each case NAME: NAME.noise and NAME.latents.STEP [tokens, 64] F32, packed, the latter
behind each step; NAME.picture U8 [H, W, 3].
"""

import importlib.util
import json
import pathlib
import sys

import diffusers
import numpy
import torch
import transformers
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler
from diffusers import QwenImageEditPipeline, QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLProcessor
from transformers.models.qwen2_vl import Qwen2VLImageProcessorPil, Qwen2VLVideoProcessor

AREA = 96 * 64
CONDITION = 64 * 64
SIZES = [(150, 100), (70, 90)]  # of the references, width and height
CASES = {
    "edit": dict(pictures=1, prompt="make the sky red, please", negative=" ", scale=2.5, steps=3),
    "plain": dict(pictures=1, prompt="Ein Hund; 7 Katzen!", negative=None, scale=1.0, steps=2),
    "plus": dict(pictures=2, prompt="put both side by side", negative="blurry", scale=4.0, steps=2),
}


def picture(number):
    """A reference: a function of channel, row and column."""
    w, h = SIZES[number]
    y, x, c = numpy.mgrid[0:h, 0:w, 0:3]
    return Image.fromarray(((x * 7 + y * 13 + c * 29 + x * y // 5 + number * 50) % 256).astype(numpy.uint8))


def dense_transformer(directory):
    path = pathlib.Path(__file__).parent.parent / "transformer" / "testdata" / "golden.py"
    spec = importlib.util.spec_from_file_location("dense", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.model(module.Packed(str(directory / "checkpoint.safetensors")), False)


def text_encoder(directory):
    """Qwen2.5-VL that tells pictures' tokens from text by their id."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float64, attn_implementation="eager"
    ).eval()
    forward = model.forward

    def told(input_ids, **arguments):
        kinds = (input_ids == model.config.image_token_id).int()
        return forward(input_ids=input_ids, mm_token_type_ids=kinds, use_cache=False, **arguments)

    model.forward = told
    return model


def components(directory):
    tokenizer = AutoTokenizer.from_pretrained(directory / "tokenizer")
    images = Qwen2VLImageProcessorPil.from_pretrained(directory / "processor")
    videos = Qwen2VLVideoProcessor.from_pretrained(directory / "processor")
    return dict(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(directory / "scheduler"),
        vae=AutoencoderKLQwenImage.from_pretrained(directory / "vae", torch_dtype=torch.float64).eval(),
        text_encoder=text_encoder(directory / "text_encoder"),
        tokenizer=tokenizer,
        processor=Qwen2VLProcessor(images, tokenizer, videos),
        transformer=dense_transformer(directory),
    )


def set_areas():
    edit, plus = pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
    original, original_plus = edit.calculate_dimensions, plus.calculate_dimensions
    edit.calculate_dimensions = lambda area, ratio: original(AREA, ratio)
    plus.calculate_dimensions = lambda area, ratio: original_plus(CONDITION if area == CONDITION else AREA, ratio)
    plus.CONDITION_IMAGE_SIZE, plus.VAE_IMAGE_SIZE = CONDITION, AREA


def run(pipe, case, noise):
    kept = []

    def keep(_pipe, _step, _time, tensors):
        kept.append(tensors["latents"][0].clone())
        return {}

    images = [picture(i) for i in range(case["pictures"])]
    out = pipe(
        image=images if len(images) > 1 else images[0], prompt=case["prompt"], negative_prompt=case["negative"],
        true_cfg_scale=case["scale"], num_inference_steps=case["steps"], latents=noise[None].double(),
        callback_on_step_end=keep, output_type="np",
    ).images[0]
    return kept, torch.from_numpy((out * 255).round().astype(numpy.uint8))


def main(directory):
    set_areas()
    parts = components(directory)
    prefix = QwenImageEditPipeline(**parts).prompt_template_encode.split("<|vision_start|>")[0]
    drop = len(parts["tokenizer"].encode(prefix))
    generator = torch.Generator().manual_seed(20261126)
    golden = {}
    for name, case in CASES.items():
        pipe = (QwenImageEditPlusPipeline if case["pictures"] > 1 else QwenImageEditPipeline)(**parts)
        pipe.prompt_template_encode_start_idx = drop
        pipe.set_progress_bar_config(disable=True)
        last = SIZES[case["pictures"] - 1]
        w, h = pipeline_qwenimage_edit_plus.calculate_dimensions(AREA, last[0] / last[1])
        noise = torch.randn(int(w) * int(h) // 256, 64, generator=generator)
        kept, out = run(pipe, case, noise)
        golden[f"{name}.noise"], golden[f"{name}.picture"] = noise, out
        for i, latents in enumerate(kept):
            golden[f"{name}.latents.{i}"] = latents.float()
        print(name, tuple(out.shape), [float(x.abs().max()) for x in kept], float(out.float().std()))
    versions = dict(torch=torch.__version__, diffusers=diffusers.__version__, transformers=transformers.__version__)
    path = pathlib.Path(__file__).with_name("golden.safetensors")
    save_file({k: v.contiguous() for k, v in golden.items()}, path,
              {"cases": json.dumps(CASES), "sizes": json.dumps(SIZES), "drop": str(drop), **versions})
    path.chmod(0o644)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
