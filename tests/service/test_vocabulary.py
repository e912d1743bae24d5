"""Texts as hospitals of many countries write them; the truth beside each is from knowledge of naming habits."""

from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from dicom_nodes.types import Laterality, Plane, Volume
from service.routing.plain import plain_words
from service.routing.sides import side_testimonies
from service.routing.vocabulary import first_word, lexicon_of, normal_body_part, shipped_vocabulary, without
from service.routing.witnesses import body_part_testimonies, regions
from service.submodel import load_submodels

VOCABULARY = shipped_vocabulary()
SUBMODELS = load_submodels()
REGIONS = regions(VOCABULARY, SUBMODELS)


def volume_of(**facts: str) -> Volume:
    return Volume("1.2", "1.1", "1.3", 1, "", (), np.eye(4), (9, 9, 9), Plane.AXIAL, 0.0, MappingProxyType(facts))


def meant(**facts: str) -> str:
    """The innermost regions that the one fact names, in alphabetic order."""
    (keyword,) = facts
    heard = [each for each in body_part_testimonies(volume_of(**facts), REGIONS) if each.witness == keyword]
    names = set(heard[0].names)
    wide = {region.name for region in REGIONS if region.includes & names}
    return " + ".join(sorted(names - wide))


def rows(table: str) -> list[tuple[str, str]]:
    """Lines of "region: text | text | text" as (text, region)."""
    found = []
    for line in table.strip().splitlines():
        truth, _, texts = line.partition(":")
        found += [(text.strip(), truth.strip().strip("-")) for text in texts.split(" | ")]
    return found


NAMED = rows("""
lumbar: lumbo-sacral spine | L S SPINE WITH WHOLE SPINE SCREENING | MRI LUMBAR SPINE W/O CONTRAST
lumbar: L-SPINE | LSPINE | L_SPINE | SPINE L | SPINE-LUMBAR
lumbar: LUMBAR^ROUTINE | Spine^L-Spine | MR Lumbar spine WO contr | L/S SPINE SAG T2
lumbar: MR LWS nativ | LWSsag | t2_tse_sag_lws | Lendenwirbelsäule | LENDENWIRBELSAEULE
lumbar: Lendenwirbels?ule nativ | LendenwirbelsÃ¤ule | Lendenwirbels\ufffdule | lws_t1_tse_sag
lumbar: MRT der LWS
lumbar: IRM rachis lombaire | RACHIS LOMBO-SACRE | IRM du rachis lombosacré
lumbar: IRM lombaire sans injection | Rachis L | colonne lombaire
lumbar: RM COLUMNA LUMBAR | RM col. lumbosacra | RM COLUMNA LUMBO-SACRA | RM RACHIDE LOMBOSACRALE
lumbar: RMN colonna lombare | rachide L-S | RM Coluna Lombar | RM col. lombossacra | Coluna L/S
lumbar: coluna lombo-sacra
lumbar: MRI LWK | MRI lumbale wervelkolom | lendenwervelkolom | MR LWZ | MR ländrygg
lumbar: MR Ländrygg utan kontrast | MR LS-columna | MR lænderyg | Lannerangan MRI
lumbar: MR columna lumbalis
lumbar: MR kręgosłupa lędźwiowego | RM kręgosłupa lędźwiowo-krzyżowego | kregoslup L-S
lumbar: odc. L-S kręgosłupa | MR bederní páteře | MR LS páteře | Lomber vertebra MR | LOMBER MR
lumbar: lumbosakral MR | BEL MR
lumbar: МРТ поясничного отдела позвоночника | МРТ ПКОП | 腰椎MRI | 腰椎 単純 | MRI腰椎 | YOTSUI
lumbar: 腰椎平扫 | 腰骶椎
lumbar: 腰仙椎 | yaozhui pingsao | 요추 MRI | Sag T2 L5-S1 | ax L4/5 | lumber spine
cervical: MRI CERVICAL SPINE | C-SPINE | CSPINE | C_SPINE | SPINE^C-SPINE | HWS | HWS_sag_T2
cervical: Halswirbelsäule | Halswirbels?ule | MR HWS re/li | zervikales Myelon | MRT HWS nativ
cervical: IRM rachis cervical | IRM cervicale | rachis C | RM COLUMNA CERVICAL | RM col. cervical
cervical: RM rachide cervicale | tratto cervicale | coluna cervical | RM Coluna Cervical | CWK
cervical: cervicale wervelkolom | MRI nekwervels
cervical: MR halsrygg | MR HALSRYGG | MR nakkecolumna | kaularangan MRI | MR kręgosłupa szyjnego
cervical: odc. szyjny | kręgosłup C | MR krční páteře | SERVİKAL MR | servikal vertebra
cervical: boyun fıtığı | МРТ шейного отдела | ШОП
cervical: 頚椎MRI | 頸椎 単純 | MRI頚椎 | keitsui | 颈椎平扫 | 頸椎 | 颈椎MR | jingzhui | 경추
cervical: C5/6 ax t2 | C-SPINE WO
thoracic: MRI THORACIC SPINE | T-SPINE | T SPINE WO | TSPINE | DORSAL SPINE | BWS | BWS_t2_sag
thoracic: Brustwirbelsäule | MRT BWS | thorakale Wirbelsäule | MRI thoracic w/o
thoracic: IRM rachis dorsal | rachis thoracique | IRM dorsale | RM columna dorsal | columna torácica
thoracic: RM DORSAL | rachide dorsale | RM RACHIDE DORSALE | coluna torácica | RM coluna dorsal
thoracic: TWK | thoracale wervelkolom | borstwervelkolom
thoracic: MR bröstrygg | MR thorakalrygg | rintarangan MRI | MR kręgosłupa piersiowego
thoracic: odc. piersiowy | kręgosłup Th | MR hrudní páteře | torakal vertebra MR | TORAKAL MR
thoracic: МРТ грудного отдела | 胸椎 | MRI胸椎 | 胸椎平扫 | xiongzhui | 흉추
knee: MRI KNEE W/O CONT RT | KNEE_RT | rtKnee | KNEE^Clinical Libraries | MRKnee | t1sagknee | LKNEE
knee: knee joint | MR Kniegelenk | kniegelenk_re | Kniere | MRT Knie li | Kniegelenk nativ
knee: Meniskus
knee: IRM genou D | IRM du genou gauche | RM rodilla dcha | RM RODILLA IZQ | RMN ginocchio dx
knee: RM ginocchio sx | RM joelho E | joelho direito | MRI knie L | kniegewricht | MR knä hö
knee: MR KNÄ VÄ | MR knæ | MR kne høyre | polven MRI
knee: MR stawu kolanowego | kolano P | MR kolana lewego | koleno vpravo | MR kolene | diz sağ
knee: DİZ MR | sol diz | МРТ коленного сустава | 膝 | 右膝MRI | 膝関節 | 膝关节 | 膝關節 | xi guan jie | hiza
knee: 무릎 | ACL protocol | patella
shoulder: MRI SHOULDER LEFT | SHLDR | rtShoulder | LSHOULDER | rotator cuff | Schulter
shoulder: MR Schultergelenk re | MRT der Schulter | IRM épaule | ?paule droite | IRM EPAULE G
shoulder: RM hombro | RM hombro izq | RM spalla sx | RM ombro D
shoulder: MRI schouder | MR axel | MR axel vä | MR skulder | olkapään MRI | MR barku | bark prawy
shoulder: MR stawu barkowego | MR ramene | omuz MR | SOL OMUZ | МРТ плечевого сустава | 肩 | 肩関節
shoulder: 左肩MRI | 肩关节 | 肩關節 | 어깨 | AC joint
abdomen: MRI ABDOMEN | ABD | UPPER ABDOMEN | LIVER | MRCP | kidneys | MR Oberbauch | MRT Abdomen
abdomen: MR Leber KM | Pankreas | Nieren | IRM abdominale | IRM hépatique | IRM du foie | bili-IRM
abdomen: RM ABDOMEN SUPERIOR | RM hígado | H?gado | colangio RM
abdomen: RM addome superiore | RM fegato | Colangio-RM | RM abdome superior | RM fígado | RM ABDOME
abdomen: MRI buik | MRI bovenbuik | MRI lever | MR buk | MR lever | MR övre buk | vatsan MRI
abdomen: MR jamy brzusznej | MR wątroby | MR nadbrzusza | MR břicha | MR jater
abdomen: Üst batın MR | UST BATIN | karaciğer MR | tüm üst abdomen | МРТ печени
abdomen: МРТ брюшной полости | 腹部MRI | 上腹部 | 肝臓 | 肝胆膵 | MRI肝 | 上腹部平扫 | 肝脏增强
abdomen: 肝臟 | 肾上腺 | 胰腺
abdomen: adrenal | fubu | 복부 | gallbladder
pelvis: MRI PELVIS | PELVIS^ROUTINE | MR Becken | Beckenübersicht | IRM bassin | IRM pelvienne
pelvis: RM PELVIS | RM pélvica | RM bacino | RM pelvi | RM bacia | RM pelve | MRI bekken | MR bäcken
pelvis: MR lilla bäckenet | MR bækken | lantion MRI
pelvis: MR miednicy mniejszej | MR miednicy | MR pánve | pelvik MR | МРТ малого таза
pelvis: МРТ органов малого таза | 骨盤MRI | 骨盤腔 | 盆腔平扫 | 盆腔 | 骨盆 | 골반
prostate: MRI PROSTATE W/WO | PROSTATE^mpMRI | Prostata | MR Prostata | Pr?stata | próstata
prostate: RM PRÓSTATA | IRM prostatique | IRM prostate | MRI prostaat | eturauhasen MRI
prostate: MR gruczołu krokowego | stercz | MR prostaty | prostat MR | PROSTAT
prostate: МРТ предстательной железы | 前立腺MRI | 前立腺 | 前列腺 | MR前列腺 | qianliexian | PI-RADS
prostate: 전립선 | zenritsusen
hip: MRI HIP | MR Hüfte | Hüftgelenk | Huefte re | H?fte | IRM hanche | RM cadera | RM anca
hip: RM quadril | MRI heup | MR höft | MR stawu biodrowego | kalça MR | МРТ тазобедренного сустава
hip: 股関節 | 髋关节 | 髖關節
ankle: MRI ANKLE | OSG | MR Sprunggelenk | IRM cheville | RM tobillo | RM caviglia | RM tornozelo
ankle: MRI enkel | MR fotled | staw skokowy | ayak bileği | голеностопный сустав | 足関節 | 踝关节
ankle: Achilles
wrist: MRI WRIST | Handgelenk | IRM poignet | RM muñeca | Mu?eca | RM polso | RM punho | MRI pols
wrist: MR handled | MR nadgarstka | el bileği | 手関節 | 腕关节
elbow: elbow | Ellenbogen | IRM coude | RM codo | RM gomito | RM cotovelo | elleboog | armbåge
elbow: łokieć | dirsek | 肘関節 | 肘关节
sacroiliac joint: SI JOINTS | ISG | Iliosakralgelenke | sacro-iliaques | sacroiliac joints
sacroiliac joint: RM sacroilíacas | RM sacroiliache | SI-gewrichten | stawy krzyżowo-biodrowe
sacrum: sacrum coccyx | Kreuzbein
sacroiliac joint: sakroiliak | Sakroiliakalgelenk | 仙腸関節 | 骶髂关节 | SIJ
whole spine: C/T/L | WHOLE SPINE | Ganzwirbelsäule | HWS/BWS/LWS | rachis entier | columna completa
whole spine: rachide in toto | coluna total | totale wervelkolom | helrygg | 全脊椎 | 全脊柱 | C-T-L SPINE
whole spine: tüm spinal
two levels of the spine: DORSO LUMBAR SPINE | zerviko-thorakale Wirbelsäule | thoraco-lumbar spine
two levels of the spine: torako-lomber vertebra | columna toracolumbar | coluna dorsolombar
two levels of the spine: odc. piersiowo-lędźwiowy
two levels of the spine: rachis cervico-dorsal | cervicothoracic spine | thoracolumbar spine
two levels of the spine: BWS/LWS | thorakolumbaler Übergang | rachis dorso-lombaire
two levels of the spine: columna dorsolumbar | rachide dorso-lombare | cervicothoracic | 胸腰椎 | 頸胸椎
two levels of the spine: T/L SPINE | C/T spine
head: MRI BRAIN | HEAD | MR Kopf | Schädel | IRM cérébrale | IRM encéphale | RM cráneo | RM cerebro
head: RM encefalo | RM crânio | MRI hersenen | MR hjärna | MR głowy | beyin MR | kraniyal MR | 頭部MRI
head: 脳 | 头颅平扫 | TMJ | ATM | 顎関節 | Kiefergelenke | temporomandibular joints | IAC | hypophysis
head: pituitary
breast: BREAST MRI | Mamma | IRM des seins | RM mama | RM mammella | MRI borsten | MR bröst | 乳腺 | 乳房
heart: CARDIAC MRI | Herz | IRM cardiaque | cuore | corazón | 心臓 | 心脏
chest: MRI CHEST | Thorax | thorakal | IRM thoracique | RM tórax | RM torace | klatka piersiowa
chest: MR klatki piersiowej | 胸部 | RM torácica | toraks
rectum: MRI RECTUM | Rektum | RM recto | RM retto | perianal fistula | 直腸 | 直肠 | fistule anale
uterus: uterus | MR Gebärmutter | cervix | col utérin | cuello uterino | collo uterino
uterus: colo do útero | 子宮 | 子宮頸部 | 子宫 | 宫颈 | cervical cancer | ovaries | MR macicy | szyjka macicy
uterus: livmoder
bladder: bladder | Harnblase | vessie | vejiga | vescica | bexiga | 膀胱
bowel: MR enterography | enterografia | entéro-IRM | Sellink | small bowel | enteroRM | dunne darm | 小腸
pelvic floor: pelvic floor | Beckenboden | plancher pelvien | MR defecography | Defäkographie
pelvic floor: suelo pélvico | 盆底 | 骨盤底
brachial plexus: brachial plexus | Plexus brachialis | plexo braquial | plesso brachiale
brachial plexus: plexus brachial | splot ramienny | 腕神経叢 | 臂丛 | thoracic outlet
neck soft tissue: soft tissue neck | neck soft tissue | carotid | Halsweichteile | thyroid | 甲状腺
neck soft tissue: parotid | larynx
neck: NECK | MR Hals | cou | cuello | collo | pescoço | boyun | 頸部 | 颈部
whole body: whole body | Ganzkörper | corps entier | cuerpo entero | corpo inteiro | 全身 | WB MRI | helkropp
fetus: fetal MRI | IRM foetale | Fetal-MRT | 胎児
abdomen and pelvis: MR urography | Uro-MRT | uro-IRM | abdominopelvic | tüm batın | 全腹
abdomen and pelvis: RM abdomen completo | kidney transplant
thigh: thigh | Oberschenkel | cuisse | RM muslo | coxa direita | 大腿
lower leg: lower leg | Unterschenkel | calf | jambe | 下腿 | below knee
foot: foot | Vorfuss | pied | RM pie | piede | voet | 足部 | stopa
hand: hand | finger | RM mano | IRM main | Daumen | 手指
""")  # fmt: skip


@pytest.mark.parametrize(("text", "truth"), NAMED)
def test_a_text_names_the_body_part_that_its_writer_meant(text: str, truth: str) -> None:
    assert meant(StudyDescription=text) == truth


FALSE_FRIENDS = rows("""
-: to be continued | going to 3T | oil immersion | rim enhancement | USG | weight bearing WB | RX RM LS
-: T12 | L1 | C7 | S1 | A/P | Col
ankle + knee: knee to ankle
-: COLLEGE HOSPITAL | ALARM | t2_tse_tra | T2W_TSE_SAG | T1 T2 sag | t2 l | T1 vibe dixon W
-: body coil | spine coil | head/neck coil | knee coil | shoulder coil | Kniespule | bobine genou
-: 膝コイル | frame rate | lever arm | heart rate | feet first | head first | Bauchlage | bone marrow
-: moelle osseuse | Knochenmark | stop | over the top | has been here | main menu | LARGE FOV
-: même coupe | even and odd | renal function | second hand | 不足 | deux côtés | C- | post contrast
-: resolve | T2 SPACE | ref | Dx | mit KM | sin contraste | lumbar puncture | remain | SIEMENS
-: PERNAMBUCO | sagittal re-scan
ankle: MR OSG in knee coil | ANKLE, KNEE COIL | Sprunggelenk (Kniespule) | cou-de-pied
wrist: WRIST in shoulder coil | wrist dorsal
hip: femoral neck | femoral head | cuello femoral | col du fémur | collo del femore | colo do fêmur
hip: Hüftkopf | Schenkelhals | tête fémorale | 大腿骨頭 | 大腿骨頸部 | 股骨头 | coxofemoral
shoulder: humeral head | Humeruskopf | shoulder ABER arms up | 上腕骨頭
elbow: radial head
foot: dorsal foot
hand: dorsum of hand | IRM de la main droite
abdomen: renal pelvis | abdominal aorta | Nierenbecken | Leber in Bauchlage
uterus: cervical carcinoma | uterine cervix | cervix uteri | cancer de cuello uterino | 子宮頚癌
uterus: RM cuello de útero
neck soft tissue: vertebral artery | cervical lymph nodes | tętnic szyjnych | 颈动脉
chest: thoracic wall | paroi thoracique
lumbosacral plexus: lumbar plexus | lumbosacral plexus | Plexus lumbalis
hip + thigh: coxa
cervical + pelvis: MR pelvis, cervical
cervical + lumbar: MRI CERVICAL AND LUMBAR SPINE | C and L spine | C/L-SPINE
abdomen + pelvis: MRI ABDOMEN AND PELVIS | ABDOMEN^PELVIS
abdomen and pelvis: Abdomen/Becken | abdomen y pelvis
cervical + head: craniocervical junction | MRI BRAIN AND C-SPINE
pelvis + thigh: Becken/Oberschenkel
hip: Becken/Hüfte | pelvis and hips
prostate: MR Becken/Prostata | mpMRT Prostata Becken
shoulder girdle: scapula | Schulterblatt | clavicle | 肩甲骨
cervical: cervical spine, neck coil | C-spine head neck coil
knee: MRI KNEE, knee coil | Knie (Kniespule) | patellofemoral | femorotibial | tibial plateau
knee: knee, extremity coil
thigh: above knee amputation
heart: thoracic aorta | coronary sinus
spine: spinal cord
""")  # fmt: skip


@pytest.mark.parametrize(("text", "truth"), FALSE_FRIENDS)
def test_a_false_friend_is_not_taken_for_the_body_part_it_looks_like(text: str, truth: str) -> None:
    assert meant(SeriesDescription=text) == truth


BODY_PARTS = rows("""
lumbar: LSPINE | L SPINE | L-SPINE | LUMBAR SPINE | LWS | LSSPINE | LUMBAR_SPINE | Lumbosacral spine
cervical: CSPINE | C_SPINE | C SPINE | HWS | CERVICAL SPINE
thoracic: TSPINE | T-SPINE | DSPINE | BWS | THORACIC SPINE
knee: KNEE | KNIE | Knee Joint | GENOU | RT KNEE | KNEE_LT
shoulder: SHOULDER | SCHULTER | Shoulder Joint
abdomen: LIVER | UPPER ABDOMEN | KIDNEY | ABDOMEN
pelvis: PELVIS | BECKEN
prostate: PROSTATE | Prostata
spine: SPINE | BACK
extremity: EXTREMITY | JOINT
leg: LOWER EXTREMITY | LEG
arm: UPPER EXTREMITY | ARM
abdomen and pelvis: ABDOMEN_PELVIS | ABDOMENPELVIS | ABDOMEN AND PELVIS
trunk: BODY
whole body: WHOLEBODY | WHOLE BODY
neck: HEAD-NECK | NECK
head: HEAD | BRAIN | SKULL | TMJ
hip: HIP
ankle: ANKLE | OSG
whole spine: CTLSPINE | WHOLE SPINE
two levels of the spine: TLSPINE | CTSPINE
sacroiliac joint: SIJOINT | SSPINE
sacrum: SACRUM
-: UNKNOWN | OTHER | MR
""")


@pytest.mark.parametrize(("value", "truth"), BODY_PARTS)
def test_a_value_of_body_part_examined_is_read_as_devices_write_it(value: str, truth: str) -> None:
    assert meant(BodyPartExamined=value) == truth


SIDES = rows("""
-: MRI KNEE R/O MENISCAL TEAR | SHOULDER R/O TEAR | MR Knie Z.n. Re-OP | MRI HIP, L SPINE | KNEE TO FOLLOW
-: MR Knie Re-Ruptur | Rede D'Or joelho D'Or | P kolano
R: KneeR | Knee-R | (R) knee | RT. KNEE | Rt.Shoulder | KNIE R. | prawe kolano | SAĞ DİZ MR | genunchi drept
L: KneeL | Knee (L) | L. knee | shoulder-l | Knie_li_sag | genou_g | OMBRO E | rodilla I | 膝(左)
R: MRI RIGHT KNEE | MRI KNEE RT WO | KNEE_RT | rtKnee | R KNEE | KNEE R | RKNEE | MR Knie rechts
R: MR Knie re | kniegelenk_re | Kniere | Knie R | Schulter re. | MR der rechten Schulter
R: Schulter R | knie rechter | MRI rechterknie
R: IRM genou droit | IRM genou D | IRM GENOU DT | IRM épaule D | épaule droite | RM rodilla dcha
R: RM RODILLA DER | RM hombro derecho | RM ginocchio dx | RM spalla dx | ginocchio destro
R: RM joelho direito | RM joelho D | ombro D | ombro dto
R: MR knä hö | MR knä höger | MR KNÄ DX | MR skulder høyre | MR kne høyre | MR knæ højre
R: polvi oikea | kolano P | kolano prawe | MR kolana prawego | bark prawy | bark P | koleno vpravo
R: sağ diz | DİZ SAĞ | Sağ omuz MR
R: МРТ правого коленного сустава | 右膝 | 右膝関節MRI | 右肩 | 膝关节(右) | 右侧膝关节 | MR SHOULDER RIGHT W/O
R: MRI R SHOULDER | RShoulder | MR Knie re. nativ, re-scan
L: MRI LEFT KNEE | MRI LT KNEE W/O CONTRAST | KNEE LT | ltKnee | L KNEE | LKNEE | KNEE L
L: MR Knie links | MR Kniegelenk nativ li | Knieli | Knie L | Schulter li | MR der linken Schulter
L: knie L | schouder links | schouder L
L: IRM genou gauche | IRM genou G | IRM épaule G | IRM épaule gche | RM rodilla izda
L: RM RODILLA IZQ | RM hombro izquierdo | RM ginocchio sx | RM spalla sin | RM joelho esquerdo
L: joelho E | RM ombro E | ombro esq | RM joelho E sem contraste
L: MR knä vä | MR axel vänster | MR KNÄ SIN | MR kne venstre | polvi vasen | kolano L | kolano lewe
L: bark lewy | koleno vlevo | sol diz | DIZ SOL | omuz sol | МРТ левого коленного сустава | 左膝
L: 左肩関節 | 膝关节 左 | 左侧肩关节
LR: MRI BOTH KNEES | bilateral knees | MR Knie bds. | MR Knie beidseits | MR Knie re/li | genoux
LR: IRM des deux genoux | RM rodillas | KNEE R/L | 両膝 | 双膝 | 双侧膝关节 | 左右膝 | kolano P i L
LR: RT AND LT KNEE | knä hö/vä
-: L SPINE | L-SPINE | LSPINE | LWS | L-S SPINE | L5-S1 | MRI KNEE | MR LWS li-konvex, L | T2 li
-: D12 | rachis D | kręgosłup L-S | kręgosłup Th P | kręgosłup L | MRI KNEE Dx pain
-: MRI KNEE re-scan | IRM genou, Dr Dupont | RM RODILLA SIN CONTRASTE | RM joelho e ombro
-: DIZ SAG T2 | PD_SAG | KNEE PD SAG | Knie sag P | genou DP | t2_tse_sag_R | MRI KNEE right-handed
-: left lateral decubitus | re | li | dx | SOL | E | coluna D | IRM genou d'un enfant | lumbar SIN
-: KNEE left over | IRM du muscle droit | 左右方向 | artrose leve joelho | 右利き
""")  # fmt: skip


@pytest.mark.parametrize(("text", "truth"), SIDES)
def test_a_side_is_read_in_the_language_it_is_written_in_and_never_guessed(text: str, truth: str) -> None:
    heard = side_testimonies(volume_of(StudyDescription=text), VOCABULARY)
    found = {side for each in heard for side in each.sides}
    assert found == {Laterality(letter) for letter in truth}


def test_an_abbreviation_in_one_text_is_at_home_beside_a_word_of_its_language_in_another() -> None:
    (heard,) = side_testimonies(volume_of(StudyDescription="MR Knie", ProtocolName="pd_sag_re"), VOCABULARY)
    assert (heard.witness, heard.sides) == ("ProtocolName", frozenset({Laterality.RIGHT}))
    assert side_testimonies(volume_of(StudyDescription="MRI ankle", ProtocolName="pd_sag_re"), VOCABULARY) == ()


@pytest.mark.parametrize(
    ("code", "truth"),
    [
        ("72696002", "knee"),
        ("T-D9200", "knee"),
        ("122496007", "lumbar"),
        ("T-11503", "lumbar"),
        ("T-D1100", "head"),
    ],
)
def test_a_code_names_its_body_part(code: str, truth: str) -> None:
    assert [region.name for region in REGIONS if code in region.codes] == [truth]


def test_every_code_is_one_that_pydicom_knows_and_stands_for_one_region() -> None:
    snomed = {code for codes in concepts["SCT"].values() if isinstance(codes, dict) for code in codes} | mapping[
        "SCT"
    ].keys()
    known = snomed | set(mapping["SCT"].values()) | mapping["SRT"].keys()
    codes = [code for region in REGIONS for code in region.codes]
    assert set(codes) <= known
    assert len(codes) == len(set(codes))


def test_both_codes_of_a_structure_name_the_same_region() -> None:
    by_code = {code: region.name for region in REGIONS for code in region.codes}
    for code, name in by_code.items():
        if older := mapping["SCT"].get(code):
            assert by_code.get(older, name) == name, (code, older)


def test_a_body_part_examined_names_one_region_but_where_it_is_entered_for_a_wider_one() -> None:
    shared: dict[str, list[str]] = {}
    for region in REGIONS:
        for value in region.body_parts:
            shared.setdefault(value, []).append(region.name)
    assert {value: names for value, names in shared.items() if len(names) > 1} == {
        "ABDOMEN": ["abdomen", "trunk"],
        "HEAD": ["head", "head and neck"],
        "BRAIN": ["head", "head and neck"],
        "HEADNECK": ["neck", "head and neck"],
        "WHOLEBODY": ["whole body", "any part of the body"],
    }


def test_no_pattern_is_empty_or_so_short_that_it_matches_much() -> None:
    for region in REGIONS:
        for word in region.words:
            letters = word.replace("*", "").replace(" ", "")
            assert letters, region.name
            if "*" in word and letters.isascii():
                assert len(letters) >= 3, (region.name, word)


def test_the_longest_match_alone_counts_and_of_two_as_long_the_more_specific() -> None:
    lexicon = lexicon_of(
        (("neck", ("neck",)), ("hip", ("femoral neck", "prosth*")), ("prostate", ("prost*",))), ("neck coil",)
    )
    assert lexicon.named(plain_words("femoral neck")) == {"hip": "femoral neck"}
    assert lexicon.named(plain_words("neck coil, NECK")) == {"neck": "neck"}
    assert lexicon.named(plain_words("prosthesis")) == {"hip": "prosthesis"}
    assert lexicon.named(plain_words("prostatic neck")) == {"prostate": "prostatic", "neck": "neck"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LWSsag", "lwssag | lws sag"),
        ("rtKnee", "rt knee"),
        ("RKnee", "rknee | r knee"),
        ("KneeRT", "kneert | knee rt"),
        ("Pr?s", "pr s | pras | pros | prus | pres | pris | prns | prss | prcs | prls | przs"),
        ("knee?", "knee"),
        ("HÃ¼fte", "hufte"),
        ("右膝MRI", "右膝 mri"),
        ("SAĞ SAG", "sagh sag"),
        ("Karaciğer", "karaciger"),
        ("knee3d", "knee 3d"),
        ("", ""),
    ],
)
def test_words_are_taken_apart_and_mended(text: str, words: str) -> None:
    assert plain_words(text).split() == words.split()


def test_a_dollar_stands_for_the_end_of_the_text() -> None:
    assert first_word(plain_words("RM joelho e"), ("joelho e$",)) is not None
    assert first_word(plain_words("RM joelho e ombro"), ("joelho e$",)) is None


def test_a_star_stands_for_letters_at_either_end() -> None:
    assert first_word(plain_words("Hüftgelenk"), ("*gelenk",)) == "huftgelenk"
    assert first_word(plain_words("Sprunggelenke"), ("*gelenk*",)) == "sprunggelenke"
    assert first_word(plain_words("Gelenke"), ("*gelenk",)) is None


def test_what_is_taken_out_leaves_the_rest_in_its_order() -> None:
    assert without(plain_words("knee re scan re"), ("re scan",)) == " knee | re "


def test_a_body_part_is_compared_without_spaces_hyphens_and_case() -> None:
    assert {normal_body_part(value) for value in ("L-Spine", "L SPINE", "l_spine", "LSPINE")} == {"LSPINE"}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["knee", "腰椎", "l spine", "prost*", "*gelenk*"]))
def test_a_pattern_between_any_other_words_is_found(text: str, pattern: str) -> None:
    said = pattern.replace("*", "")
    found = first_word(plain_words(f"{text} , {said} , {text}"), (pattern,))
    assert found is not None
    assert plain_words(said).strip() in found


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_text_breaks_the_words(text: str) -> None:
    plain = plain_words(text)
    assert plain.startswith(" ")
    assert plain.endswith(" ")
    meant(StudyDescription=f"-{text}-")
